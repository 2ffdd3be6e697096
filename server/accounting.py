"""The server's privacy accountant: rounds spent so far, what they cost, and a sentence that says so.

The unit is a person; see :mod:`shared_models.accounting` for the composition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from shared_models.accounting import SampledGaussian, composed_by, epsilon_of
from shared_models.accounting import noise_multiplier_for as noise_multiplier_for
from shared_models.config import Recipe, delta_problem
from shared_models.errors import CheckpointError, PrivacyError, RecipeError
from shared_models.shown_epsilon import epsilon_shown

Sampling = Literal["poisson", "fixed"]


def epsilon(noise_multiplier: float, sampling_probability: float, rounds: int, delta: float) -> float:
    """The epsilon of so many rounds of the Poisson-subsampled Gaussian mechanism, add-or-remove-one."""
    return epsilon_of([SampledGaussian(noise_multiplier, sampling_probability, rounds)], delta)


class Accountant:
    """Composes a federation's rounds one by one; goes into every checkpoint.

    Poisson sampling of ``cohort`` expected people out of ``population`` amplifies privacy. A ``fixed`` cohort
    is accounted for as if everybody took part in every round: sampling without replacement amplifies less than
    Poisson sampling, so no amplification is claimed. Neighbouring inputs then differ in one person's update, which
    is zero in one of them.
    """

    def __init__(
        self, noise_multiplier: float, *, cohort: float, population: float, sampling: Sampling = "poisson"
    ) -> None:
        if cohort > population:
            raise PrivacyError(f"a cohort of {cohort:g} cannot be drawn from a population of {population:g}")
        self.noise_multiplier = noise_multiplier
        self.cohort = cohort
        self.population = population
        self.sampling: Sampling = sampling
        self.rounds = 0
        self._earlier: tuple[SampledGaussian, ...] = ()
        self._release(0)

    @property
    def sampling_probability(self) -> float:
        """What the accountant assumes: cohort over population, or 1 where no amplification is claimed."""
        return self.cohort / self.population if self.sampling == "poisson" else 1.0

    def step(self, rounds: int = 1) -> None:
        """Count rounds as spent. Call it before the round's noised mean exists."""
        self.rounds += rounds

    def epsilon(self, delta: float) -> float:
        """What the rounds so far cost together."""
        return self.would_spend(delta, rounds=0)

    def would_spend(self, delta: float, rounds: int = 1) -> float:
        """What they would cost with so many more."""
        return epsilon_of([*self._earlier, self._release(self.rounds + rounds)], delta)

    def state(self) -> dict[str, Any]:
        """Everything spent, as plain data for a checkpoint."""
        spent = [*self._earlier, self._release(self.rounds)]
        return {"releases": [[s.noise_multiplier, s.sampling_probability, s.steps] for s in spent if s.steps]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state: what it spent stays spent, even if this run's noise is another.

        Raises :class:`CheckpointError` if the state is damaged.
        """
        try:
            spent = [SampledGaussian(float(n), float(q), int(steps)) for n, q, steps in state["releases"]]
        except (KeyError, TypeError, ValueError, PrivacyError) as error:
            raise CheckpointError(
                f"the checkpoint's privacy ledger is damaged ({error}): take an earlier one"
            ) from None
        own = self._release(0)
        mine = [
            s
            for s in spent
            if s.noise_multiplier == own.noise_multiplier
            and s.sampling_probability == own.sampling_probability
        ]
        self._earlier = tuple(s for s in spent if s not in mine)
        self.rounds = sum(s.steps for s in mine)

    def describe(self, delta: float) -> str:
        """One sentence: epsilon with unit, delta, mechanism, composition and the cohort assumed."""
        if self.sampling == "poisson":
            who = (
                f"a Poisson-sampled cohort of {self.cohort:g} expected out of {self.population:g} people, "
                "add or remove one person"
            )
        else:
            who = (
                f"a fixed cohort of {self.cohort:g} out of {self.population:g} people, without "
                "amplification by sampling, one person's update replaced by nothing"
            )
        return (
            f"epsilon {epsilon_shown(self.epsilon(delta))} at delta {delta:g} for a person (all of their recordings), "
            f"by the Gaussian mechanism with noise multiplier {self.noise_multiplier:g} over {self.rounds} "
            f"rounds, composed by {composed_by(delta)}, assuming {who}."
        )

    def _release(self, rounds: int) -> SampledGaussian:
        return SampledGaussian(self.noise_multiplier, self.sampling_probability, rounds)


def accountant_for(recipe: Recipe, clients: int) -> Accountant | None:
    """The accountant that a recipe asks for with so many clients, or None without privacy.

    Finds the noise multiplier where the recipe names a target epsilon. Under pfl-research's scaling the
    cohort that it assumes is ``privacy.noise_cohort``, drawn from ``privacy.population``. Raises
    :class:`RecipeError`, also for a delta that is not below one over the population.
    """
    privacy, federation = recipe.privacy, recipe.federation
    if privacy.mode == "none":
        return None
    cohort = privacy.noise_cohort or min(federation.cohort, clients)
    population = privacy.population or clients
    if population != clients and not privacy.noise_cohort:
        raise RecipeError(
            f"privacy.population is {population} and {clients} clients take part: leave it out, or set "
            "privacy.noise_cohort too, since cohorts are drawn from the clients that there are"
        )
    if cohort > population:
        raise RecipeError(
            f"the accountant's cohort of {cohort} is larger than its population of {population}: set "
            "privacy.population to the number of people that such a cohort would be drawn from"
        )
    if privacy.delta >= 1 / population:
        raise RecipeError(delta_problem(privacy.delta, population))
    noise_multiplier = privacy.noise_multiplier
    if noise_multiplier is None:
        if privacy.epsilon is None:
            raise RecipeError("privacy.mode 'central' needs privacy.epsilon or privacy.noise_multiplier")
        probability = cohort / population if federation.sampling == "poisson" else 1.0
        noise_multiplier = noise_multiplier_for(
            privacy.epsilon, privacy.delta, probability, federation.rounds
        )
    return Accountant(noise_multiplier, cohort=cohort, population=population, sampling=federation.sampling)
