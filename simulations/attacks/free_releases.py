"""Free releases: after two paid answers, the same rounds asked again in other forms, at no cost to the budget.

A server that may vary a question without paying learns more with every answer. Here it changes the seed, the clipping
norm, the learning rate and the steps of rounds that were paid for, in two runs by turns, so that each would push the
other's letters out. What a ledger keyed by run, round and weights alone would have charged is computed beside it: a
device of that kind answered 20 of 20 for nothing, with twenty times the clip.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from client.home.policy import Policy
from client.home.spending import claim_of
from shared_models.accounting import epsilon_of
from shared_models.config import Recipe
from simulations.attacks.lied_to import LIFTED, LiedTo, fresh_weights, lied_to
from simulations.attacks.small_federation import small_federation

POPULATION = 1000
_RUNS = ("A", "B")


@dataclass(frozen=True, slots=True)
class FreeReleases:
    """What came of one policy."""

    protection: str
    paid: int
    """Answers to the first, honest questions."""
    asked: int
    """Questions in another form."""
    answered: int
    """Of these, different answers that the server got."""
    epsilon_before: float
    epsilon: float
    """What the ledger says after all of them."""
    epsilon_by_old_keys: float
    """What it would say if a round on the same weights were paid for once, whatever else is asked."""
    epsilon_of_answers: float
    """What was really sent, each answer in a run of its own: no less, since those of one run cost more."""
    reasons: dict[str, int]
    """Why the others were declined."""


def free_releases(variations: int = 20, cache: Path | None = None) -> list[FreeReleases]:
    """Try it on a device that allows everything, and on one with the policy that ships."""
    recipe, recordings, where = small_federation(cache)
    weights = fresh_weights(recipe)
    found = []
    for name, policy in (("policy wide open", LIFTED), ("as shipped", Policy())):
        with lied_to(recordings, where, policy) as device:
            found.append(_try(name, device, recipe, weights, variations))
    return found


def _try(name: str, device: LiedTo, recipe: Recipe, weights: Tensor, variations: int) -> FreeReleases:
    first = [device.ask(recipe, weights, 1, run, population=POPULATION) for run in _RUNS]
    paid = [answer for answer in first if not isinstance(answer, str)]
    before = device.epsilon
    seen, reasons = {_bytes(answer) for answer in paid}, Counter[str]()
    for number in range(variations):
        varied, run = _varied(recipe, number)
        answer = device.ask(varied, weights, 1, run, population=POPULATION)
        if isinstance(answer, str):
            reasons[answer.partition(" was ")[0]] += 1
        else:
            seen.add(_bytes(answer))
    answered = len(seen) - len(paid)
    return FreeReleases(
        name, len(paid), variations, answered, before, device.epsilon, before,
        _cost(recipe, len(paid) + answered, device.policy.delta), dict(reasons),
    )  # fmt: skip


def _varied(recipe: Recipe, number: int) -> tuple[Recipe, str]:
    """Another question, and the run in which it is put: each kind alone was enough for another answer."""
    run, seed = _RUNS[number % 2], {"seed": 1000 + number}
    match number % 5:
        case 0:
            return recipe.override(seed), run
        case 1:
            return recipe.override(seed | {"privacy.clipping_norm": 10.0}), run
        case 2:
            return recipe.override({"client.outer_lr": 1e-3 * (2 + number)}), run
        case 3:
            return recipe.override({"client.outer_steps": 2 + number}), run
    return recipe.override(seed), f"a new run {number}"


def _cost(recipe: Recipe, answered: int, delta: float) -> float:
    """What so many answers cost that are the first of a run each: their runs' plans."""
    return epsilon_of([claim_of(recipe, POPULATION).whole_run] * answered, delta)


def _bytes(answer: Tensor) -> bytes:
    return answer.numpy().tobytes()
