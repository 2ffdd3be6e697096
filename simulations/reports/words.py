"""What the figures say, in sentences: the headline of a report and the privacy of each arm.

Claims are only as strong as the intervals: "above" is said where the interval of the one lies above the
mean of the other, and a difference within the interval is said to be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared_models.algorithms.algorithm import Algorithm, Sends
from shared_models.config import Recipe
from simulations.reports.figures import arm_estimate, write_delta, write_epsilon


@dataclass(frozen=True)
class LedgerEntry:
    """The privacy of one arm. ``facts`` are label and value; ``level`` colours it."""

    level: Literal["private", "none", "nothing_sent"]
    summary: str
    facts: tuple[tuple[str, str], ...] = ()
    warning: str = ""


def algorithm_of(recipe: Recipe, arm: str) -> Algorithm:
    """The algorithm that an arm ran, whether the arm or the recipe itself names it."""
    return (recipe.arm(arm) if arm in recipe.arms else recipe).algorithm


def leading_arm(results: Mapping[str, Any], recipe: Recipe) -> str:
    """The arm that the headline speaks of: a private one, or else a federated one, or else the first."""
    arms = results["arms"]
    for name, arm in arms.items():
        if arm.get("epsilon"):
            return str(name)
    for name in arms:
        if algorithm_of(recipe, name).sends is Sends.SHARED:
            return str(name)
    return str(next(iter(arms)))


def headline(results: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """One sentence a finding; the first is the page's headline."""
    if not results["arms"]:
        return ["This run has no results yet."]
    arm = leading_arm(results, recipe)
    sentences = [_cloning_sentence(results, recipe, arm)]
    sentences += [_privacy_sentence(results, arm), _comparison_sentence(results, recipe, arm)]
    return [sentence for sentence in sentences if sentence]


def ledger_entry(name: str, arm: Mapping[str, Any], recipe: Recipe) -> LedgerEntry:
    """What protects the people in one arm, in words."""
    algorithm = algorithm_of(recipe, name)
    ledger = arm.get("epsilon")
    if ledger:
        return _private_entry(name, ledger, recipe)
    if algorithm.sends is Sends.NOTHING:
        return LedgerEntry("nothing_sent", "Nothing is sent: every device trains alone.")
    if algorithm.pools_recordings:
        return LedgerEntry(
            "none", "Unprotected. The recordings are pooled in one place, which is what FedVoice avoids."
        )
    everything = algorithm.shares_everything
    seen = "every weight of each client's model" if everything else "each client's update as it is"
    return LedgerEntry(
        "none",
        f"Unprotected. The server sees {seen}, without noise: who spoke, and some of what was said, may be "
        "recovered from that.",
    )


def _private_entry(name: str, ledger: Mapping[str, Any], recipe: Recipe) -> LedgerEntry:
    privacy = (recipe.arm(name) if name in recipe.arms else recipe).privacy
    unit = ledger.get("unit", "person")
    rounds, probability = ledger.get("rounds"), ledger.get("sampling_probability")
    facts = [
        ("Unit of privacy", str(unit)),
        ("Guarantee", f"ε = {write_epsilon({'epsilon': ledger})} at δ = {write_delta(ledger['delta'])}"),
        (
            "Mechanism",
            f"Gaussian noise, multiplier {ledger['noise_multiplier']:.3g}, on updates clipped "
            f"to norm {privacy.clipping_norm:g}",
        ),
        ("Composition", _composition(rounds, probability)),
        ("Cohort assumed", _people(ledger.get("assumed_cohort"))),
        ("Cohort simulated", _people(ledger.get("simulated_cohort"))),
    ]
    if privacy.mode == "central":
        facts.append(("Trusted with the clipped update", "the server, which adds the noise"))
    assumed, simulated = ledger.get("assumed_cohort"), ledger.get("simulated_cohort")
    warning = ""
    if assumed and simulated and assumed != simulated:
        warning = (
            f"This simulates a larger federation: the noise is what a cohort of {assumed:,} would bear, "
            f"scaled to the {simulated:,} that ran. The guarantee is the larger federation's."
        )
    bound = f"({write_epsilon({'epsilon': ledger})}, {write_delta(ledger['delta'])})"
    fallback = f"Each {unit} is protected by {bound}-differential privacy."
    return LedgerEntry("private", str(ledger.get("statement") or fallback), tuple(facts), warning)


def _composition(rounds: Any, probability: Any) -> str:
    times = f"{rounds:,} rounds" if isinstance(rounds, int) else "all rounds"
    if isinstance(probability, int | float) and probability < 1:
        return f"{times}, each person taking part in each with probability {probability:.3g}"
    return f"{times}, everyone in each"


def _people(count: Any) -> str:
    return f"{count:,}" if isinstance(count, int | float) else "not stated"


def _cloning_sentence(results: Mapping[str, Any], recipe: Recipe, arm: str) -> str:
    before, after = (
        arm_estimate(results["arms"][arm], f"similarity_{stage}") for stage in ("before", "after")
    )
    support = recipe.cloning.support
    start = f"Cloned from {support} recording{'s' if support != 1 else ''}"
    if before is None or after is None:
        return f"{start}: the run measured no speaker similarity."
    if after.low > before.mean and after.mean > before.high:
        verdict = (
            f"unseen voices come closer to the real ones: similarity {before.mean:.2f} → {after.mean:.2f}"
        )
    elif after.mean > before.mean:
        verdict = (
            f"unseen voices come closer, though within the uncertainty: {before.mean:.2f} → {after.mean:.2f}"
        )
    else:
        verdict = f"unseen voices come no closer: similarity {before.mean:.2f} → {after.mean:.2f}"
    return f"{start}, {verdict}."


def _privacy_sentence(results: Mapping[str, Any], arm: str) -> str:
    ledger = results["arms"][arm].get("epsilon")
    if not ledger:
        return f"The arm '{arm}' is not differentially private: {write_epsilon(results['arms'][arm])}."
    epsilon, delta = write_epsilon({"epsilon": ledger}), write_delta(ledger["delta"])
    return f"The arm '{arm}' spent ε = {epsilon} at δ = {delta} per {ledger.get('unit', 'person')}."


def _comparison_sentence(results: Mapping[str, Any], recipe: Recipe, arm: str) -> str:
    shown = results["arms"][arm]
    after, wrong = (arm_estimate(shown, f"similarity_{stage}") for stage in ("after", "wrong_speaker"))
    if after is None:
        return ""
    clauses = []
    if wrong is not None:
        where = (
            "above" if after.low > wrong.mean else "not clearly above" if after.mean > wrong.mean else "below"
        )
        clauses.append(f"{where} the wrong-speaker baseline of {wrong.mean:.2f}")
    pooled = next((name for name in results["arms"] if algorithm_of(recipe, name).pools_recordings), None)
    if pooled is not None and pooled != arm:
        bound = arm_estimate(results["arms"][pooled], "similarity_after")
        if bound is not None:
            distance = after.mean - bound.mean
            side = "above" if distance > 0 else "below"
            clauses.append(f"{abs(distance):.3f} {side} training on pooled recordings ({bound.mean:.2f})")
    return f"Its similarity is {' and '.join(clauses)}." if clauses else ""
