"""Amplification on a server's word: it claims a huge population, and asks the same device in every round.

Under Poisson sampling of a small rate a run costs next to nothing, if the coin is thrown as claimed. The device
cannot see the coin, but it can see how often it is asked. Each case is what a liar might try; beside what the
ledger says stands what the answers cost if no coin is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from client.home.policy import Policy
from client.rounds.claimed_coin import unnoticed
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.config import Recipe
from simulations.attacks.lied_to import LIFTED, LiedTo, fresh_weights, lied_to
from simulations.attacks.small_federation import COHORT, small_federation

BILLION = 10**9
_ROUNDS = 1_000_000
_NOISE = 0.3


@dataclass(frozen=True, slots=True)
class Amplification:
    """What came of one lie."""

    case: str
    asked: int
    answered: int
    epsilon: float
    """What the ledger says, by the claimed coin."""
    epsilon_without_sampling: float
    """What it says beside it: every answer at its full cost."""
    told: str
    """The reason that the last question was declined with; empty if it was answered."""


def amplification(asked: int = 30, cache: Path | None = None) -> list[Amplification]:
    """Run every case; the first, without any protection, is arithmetic on what an unsuspecting device would answer."""
    recipe, recordings, where = small_federation(
        cache, federation__rounds=_ROUNDS, privacy__noise_multiplier=_NOISE
    )
    weights = fresh_weights(recipe)
    found = [_believed(recipe, asked)]
    for case, policy, put in _cases():
        with lied_to(recordings, where, policy) as device:
            answers = [put(device, recipe, weights, number) for number in range(1, asked + 1)]
            told = answers[-1] if isinstance(answers[-1], str) else ""
            costs = device.epsilon, device.epsilon_without_sampling
            found.append(Amplification(case, asked, device.answers, *costs, told))
    return found


def most_that_a_jumper_gets() -> int:
    """Answers in a run of so many claimed rounds that the device's test can let pass, by :func:`unnoticed`."""
    return unnoticed(_ROUNDS, COHORT / BILLION)


_Put = Callable[[LiedTo, Recipe, Tensor, int], Tensor | str]


def _cases() -> list[tuple[str, Policy, _Put]]:
    return [
        ("a billion claimed in the recipe alone, as shipped", Policy(), _in_the_recipe_alone),
        ("a billion claimed throughout, policy wide open", LIFTED, _throughout),
        ("a billion claimed throughout, as shipped", Policy(), _throughout),
        ("round numbers jump ahead, as shipped", Policy(), _jumping),
        ("another run's name each time, as shipped", Policy(), _new_names),
    ]


def _in_the_recipe_alone(device: LiedTo, recipe: Recipe, weights: Tensor, number: int) -> Tensor | str:
    lying = recipe.override({"privacy.population": BILLION, "privacy.delta": 1e-10})
    return device.ask(lying, weights, number, "lie", population=50)


def _throughout(device: LiedTo, recipe: Recipe, weights: Tensor, number: int) -> Tensor | str:
    lying = recipe.override({"privacy.population": BILLION, "privacy.delta": 1e-10})
    return device.ask(lying, weights, number, "lie", population=BILLION)


def _jumping(device: LiedTo, recipe: Recipe, weights: Tensor, number: int) -> Tensor | str:
    return device.ask(recipe, weights, _ROUNDS // 2 + number * (_ROUNDS // 80), "lie", population=BILLION)


def _new_names(device: LiedTo, recipe: Recipe, weights: Tensor, number: int) -> Tensor | str:
    return device.ask(recipe, weights, _ROUNDS // 2, f"lie {number}", population=BILLION)


def _believed(recipe: Recipe, asked: int) -> Amplification:
    noise, delta = recipe.privacy.noise_multiplier, Policy().delta
    assert noise is not None
    claimed = epsilon_of([SampledGaussian(noise, recipe.federation.cohort / BILLION, _ROUNDS)], delta)
    true = epsilon_of([SampledGaussian(noise, 1.0, asked)], delta)
    return Amplification("no protection (computed)", asked, asked, claimed, true, "")
