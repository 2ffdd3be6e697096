"""What ``fedvoice serve`` says of a federation before it starts, and what it refuses to start.

A federation that devices decline, or whose rounds release mostly noise, costs its operator time and its participants
privacy. What can be known before the first round is said then, by the rules that devices and rounds apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from server.accounting import accountant_for
from server.cohort_floor import check_cohort, devices_needed, sampling_rate
from server.plan import FederationPlan
from server.privacy_plan import LEAST_SIGNAL, Plan, plan_with_noise
from server.rounds import central_mechanism
from shared_models.config import UNPROTECTED, Recipe
from shared_models.errors import PrivacyError, ServiceError
from shared_models.shown_epsilon import epsilon_shown


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a federation before its first round."""

    mode: str
    population: int
    drawn: float
    """Devices expected a round, if everybody is online."""
    needed: int
    """Devices that must be online for a round to begin."""
    rounds: int
    privacy: Plan | None
    """None without privacy."""
    declined: str
    """Why a device with the default policy declines; empty if it does not."""

    @property
    def noise_dominates(self) -> bool:
        """Whether a round releases little else than noise, even if all devices agree."""
        return self.privacy is not None and self.privacy.signal_to_noise < LEAST_SIGNAL

    def problems(self) -> list[str]:
        """What speaks against starting, a sentence each."""
        found = []
        if self.declined:
            found.append(f"devices with the default policy decline this recipe: {self.declined}")
        if self.noise_dominates and self.privacy is not None:
            found.append(
                f"noise dominates: at best the signal is {self.privacy.signal_to_noise:.2g} times the noise, where "
                f"{LEAST_SIGNAL:.2g} is the least that a round is worth its privacy for, so gather more people a round"
            )
        return found

    def lines(self) -> Iterator[str]:
        """What to show, a line each."""
        yield f"mode {self.mode}: {_MEANING[self.mode]}"
        yield (
            f"{people(self.drawn)} of {self.population:,} people expected a round, over {self.rounds} rounds; a round "
            f"begins once {self.needed} devices are online"
        )
        if self.privacy is not None:
            yield (
                f"epsilon {epsilon_shown(self.privacy.epsilon)} at delta {self.privacy.delta:g} for a person over all "
                f"rounds, noise multiplier {self.privacy.noise_multiplier:g}"
            )
            yield (
                f"signal to noise {self.privacy.signal_to_noise:.2g} at best, over {self.privacy.coordinates:,} numbers"
            )
        verdict = f"declines: {self.declined}" if self.declined else "takes part"
        yield f"a device with the default policy {verdict}"


def people(expected: float) -> str:
    """An expected number of people."""
    return f"{expected:,.0f}" if expected >= 10 or expected == round(expected) else f"{expected:.1f}"


_MEANING = {
    UNPROTECTED: "the server sees each update as it is, and what is published carries no noise",
    "central": "the server is trusted with each clipped update, and publishes noised means",
}


def outlook(plan: FederationPlan, declined: Callable[[Recipe, int], str | None]) -> Outlook:
    """What is known of a live ``plan``; ``declined`` says why a device with the default policy declines a recipe.

    Raises :class:`RecipeError` and :class:`PrivacyError` for a plan that cannot be carried out.
    """
    recipe = plan.recipe
    check_cohort(plan)
    if plan.private and recipe.privacy.noise_cohort:
        raise PrivacyError(
            "privacy.noise_cohort scales the noise down to people who are not there, which is for simulations: leave "
            "it out"
        )
    return Outlook(
        mode=recipe.protection,
        population=plan.clients,
        drawn=sampling_rate(plan) * plan.clients,
        needed=devices_needed(plan),
        rounds=recipe.federation.rounds,
        privacy=_privacy(plan),
        declined=declined(recipe, plan.clients) or "",
    )


def refuse_unless_forced(found: Outlook, forced: bool) -> list[str]:
    """Raise :class:`ServiceError` with what speaks against it, unless the operator wants it all the same: warnings."""
    problems = found.problems()
    if problems and not forced:
        raise ServiceError(f"{'; and '.join(problems)} (--force starts all the same)")
    return [f"started all the same: {problem}" for problem in problems]


def _privacy(plan: FederationPlan) -> Plan | None:
    accountant = accountant_for(plan.recipe, plan.clients)
    if accountant is None:
        return None
    mechanism = central_mechanism(plan.recipe, plan.clients, accountant)
    return plan_with_noise(
        population=plan.clients,
        cohort=round(mechanism.expected_cohort),
        rounds=plan.recipe.federation.rounds,
        delta=plan.recipe.privacy.delta,
        noise_multiplier=accountant.noise_multiplier,
        clipping_norm=plan.recipe.privacy.clipping_norm,
        coordinates=plan.partition.size,
        sampling=plan.recipe.federation.sampling,
    )
