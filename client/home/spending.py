"""What a round's update costs the person who sends it, entered in the ledger before the update leaves.

The recipe claims the noise, the cohort and the population; in mode central the server is trusted with them. Under
Poisson sampling at a known rate, every round of a run costs the same whether this device is in it or not, because
nobody may know whether it is. So the whole run is entered at its first round, and the budget covers the rounds that
this device never hears of. Where the rate is unknown, or cohorts are fixed, sampling reduces no cost, and each round
that this device is in is entered at its full cost.

Amplification by sampling holds only if the server samples as it says, and only against those who do not know who was
drawn. The server does know. So there is a second figure, which assumes no sampling: every answer at its full cost
(:func:`without_sampling`). It is shown beside the first and has a bound of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from client.home.ledger import Entry, Ledger, Spend
from client.home.policy import Policy
from shared_models.accounting import SampledGaussian, epsilon_of, gaussian_epsilon, noise_multiplier_for
from shared_models.config import Recipe
from shared_models.errors import DeclinedError, PrivacyError
from shared_models.shown_epsilon import epsilon_shown

MECHANISM = "central Gaussian"
PLAN = "all rounds of the run"
ROUND = "update of the shared set"


@dataclass(frozen=True, slots=True)
class Claim:
    """What the recipe says about the noise that will be on the sum."""

    noise_multiplier: float
    sampling_probability: float
    """1 where nothing may be taken off for sampling."""
    rounds: int

    @property
    def whole_run(self) -> SampledGaussian:
        """All of the run's rounds."""
        return SampledGaussian(self.noise_multiplier, self.sampling_probability, self.rounds)


def claim_of(recipe: Recipe, population: int | None) -> Claim:
    """The claim of a recipe in mode central; ``population`` is the server's own count, if it tells it.

    Raises :class:`DeclinedError` if the recipe names a target epsilon and not what its noise depends on, or
    another population than the server draws from.
    """
    privacy, federation = recipe.privacy, recipe.federation
    if privacy.population is not None and privacy.population != population:
        told = "none" if population is None else f"{population}"
        raise DeclinedError(
            f"the recipe's privacy.population is {privacy.population} and the server draws its cohorts from {told}: "
            "what a round costs would be counted with the wrong rate, so leave the field out or make both agree"
        )
    people = population
    probability = 1.0
    if federation.sampling == "poisson" and people:
        probability = min(1.0, federation.cohort / people)
    noise = privacy.noise_multiplier
    if noise is None and federation.sampling == "poisson" and not people:
        raise DeclinedError(
            "the recipe names privacy.epsilon without privacy.population, so that its noise cannot be told: it should "
            "name noise_multiplier"
        )
    try:
        if noise is None:
            assert privacy.epsilon is not None  # the recipe's own validation
            noise = noise_multiplier_for(privacy.epsilon, privacy.delta, probability, federation.rounds)
        return Claim(SampledGaussian(noise, probability).noise_multiplier, probability, federation.rounds)
    except PrivacyError as error:
        raise DeclinedError(f"the recipe's privacy cannot be accounted for: {error}") from None


def reserve_round(
    ledger: Ledger, policy: Policy, claim: Claim, *, run: str, round_number: int, question: str
) -> None:
    """Enter what answering this round costs. Durable when it returns; the update may leave then.

    ``question`` is the digest of everything that was asked: the same question is the same release and costs
    nothing more. Raises :class:`DeclinedError` where the run, or all answers without amplification, would cost more
    than the policy allows, and :class:`BudgetError` where everything ever sent would.
    """
    purpose = f"{ROUND} (question {question})"
    history = ledger.history()
    mine = [entry for entry in history if entry.spend.run == run and entry.spend.unit == "person"]
    if any(entry.spend.round == round_number and entry.spend.purpose == purpose for entry in mine):
        return
    unplanned = _unplanned_rounds(mine, claim)
    _refuse_costly_run(mine, policy, claim, round_number, unplanned)
    _refuse_costly_answers(history, policy, claim)
    if unplanned:
        ledger.reserve(_spend(claim, unplanned, run, round_number, PLAN))
    planned = claim.sampling_probability < 1
    covered = planned and round_number <= claim.rounds and _first_time(mine, round_number)
    full = Claim(claim.noise_multiplier, 1.0, 1)
    # A round outside of the plan, or one that is asked for again in another form, is one more release.
    # This device is certainly in it, so nothing is taken off for sampling.
    ledger.reserve(
        _spend(claim, 0, run, round_number, purpose)
        if covered
        else _spend(full, 1, run, round_number, purpose)
    )


def spent_without_sampling(ledger: Ledger) -> float:
    """The epsilon of a person, at the ledger's delta, if no coin is believed: what the server could know."""
    return without_sampling(ledger.history(), ledger.delta)


def without_sampling(entries: Iterable[Entry], delta: float, also: Iterable[float] = ()) -> float:
    """The epsilon of all answers among ``entries``, each as one release that this device is certainly in.

    A plan stands for rounds that may never be asked for, and is left out; a round that a plan covers is entered
    with 0 steps, and is one answer all the same. ``also`` are noise multipliers of answers yet to come.
    """
    spends = [e.spend for e in entries if e.spend.unit == "person" and e.spend.purpose != PLAN]
    precision = sum(max(spend.steps, 1) / spend.noise_multiplier**2 for spend in spends)
    precision += sum(noise**-2 for noise in also)
    return gaussian_epsilon(precision**-0.5, delta) if precision else 0.0


def rounds_known(ledger: Ledger, run: str) -> int:
    """The last round of ``run`` that this ledger paid for; -1 if none."""
    rounds = [e.spend.round for e in ledger.history() if e.spend.run == run and e.spend.unit == "person"]
    return max(rounds, default=-1)


def _refuse_costly_run(
    mine: list[Entry], policy: Policy, claim: Claim, round_number: int, unplanned: int
) -> None:
    releases = [entry.spend.release for entry in mine]
    # What is to come: what of the plan is not entered yet; without a plan this round and all that may follow.
    if claim.sampling_probability == 1:
        remaining = max(1, claim.rounds - round_number + 1)
        releases.append(SampledGaussian(claim.noise_multiplier, 1.0, remaining))
    elif unplanned:
        releases.append(SampledGaussian(claim.noise_multiplier, claim.sampling_probability, unplanned))
    if (cost := epsilon_of(releases, policy.delta)) > policy.epsilon_per_run:
        raise DeclinedError(
            f"policy epsilon_per_run: the recipe's {claim.rounds} rounds come to epsilon {epsilon_shown(cost)} at "
            f"delta {policy.delta:g}, this device allows {policy.epsilon_per_run:g}"
        )


def _refuse_costly_answers(history: list[Entry], policy: Policy, claim: Claim) -> None:
    if (
        without_sampling(history, policy.delta, [claim.noise_multiplier])
        > policy.total_epsilon_without_sampling
    ):
        # Without what was spent so far, which is nobody's business but the owner's.
        raise DeclinedError(
            "policy total_epsilon_without_sampling: this answer would bring the device beyond its "
            f"{policy.total_epsilon_without_sampling:g} at delta {policy.delta:g}, counted without amplification"
        )


def _unplanned_rounds(mine: list[Entry], claim: Claim) -> int:
    """Rounds of the claim that no plan of this run pays for yet; all of them where the noise fell since.

    An entry pays for a round if it assumed no more noise and no smaller a rate. An operator who lets a run go on
    longer is charged the difference; one whose target epsilon makes for less noise over fewer rounds, all of them.
    """
    if claim.sampling_probability == 1:
        return 0
    paid = sum(
        entry.spend.steps
        for entry in mine
        if entry.spend.purpose == PLAN
        and entry.spend.noise_multiplier <= claim.noise_multiplier
        and entry.spend.sampling_probability >= claim.sampling_probability
    )
    return max(0, claim.rounds - paid)


def _first_time(mine: list[Entry], round_number: int) -> bool:
    return not any(entry.spend.round == round_number and entry.spend.purpose != PLAN for entry in mine)


def _spend(claim: Claim, steps: int, run: str, round_number: int, purpose: str) -> Spend:
    return Spend(
        mechanism=MECHANISM,
        noise_multiplier=claim.noise_multiplier,
        sampling_probability=claim.sampling_probability,
        steps=steps,
        unit="person",
        run=run,
        round=round_number,
        purpose=purpose,
    )
