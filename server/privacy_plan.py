"""What a setting of central privacy comes to, before anybody trains: noise, epsilon, and what is left of the signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from server.accounting import epsilon as epsilon_of_rounds
from server.accounting import noise_multiplier_for
from server.mechanisms import CentralGaussian
from shared_models.errors import PrivacyError

LARGER_COHORTS = (1, 2, 5, 10, 50)
LEAST_SIGNAL = 1 / 3
"""Below this signal to noise, a tenth of what a round releases is signal at the very best: noise dominates."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One setting of central user-level privacy and what follows from it."""

    population: int
    cohort: int
    rounds: int
    target_epsilon: float
    epsilon: float
    """What is spent: at most the target."""
    delta: float
    noise_multiplier: float
    sampling_probability: float
    clipping_norm: float
    coordinates: int
    noise_per_coordinate: float
    """Standard deviation of the noise on each coordinate of the mean update."""
    signal_to_noise: float
    """Norm of the mean update over the norm of its noise, if all updates have norm C and agree."""


def make_plan(
    *,
    population: int,
    cohort: int,
    rounds: int,
    epsilon: float,
    delta: float,
    clipping_norm: float,
    coordinates: int,
) -> Plan:
    """The least noise for a target, and the signal that it leaves. Raises :class:`PrivacyError`."""
    if cohort > population:
        raise PrivacyError(
            f"a cohort of {cohort} cannot be drawn from a population of {population}: lower the cohort or "
            "raise the population"
        )
    noise_multiplier = noise_multiplier_for(epsilon, delta, cohort / population, rounds)
    return _plan(population, cohort, rounds, epsilon, delta, noise_multiplier, clipping_norm, coordinates)


def plan_with_noise(
    *,
    population: int,
    cohort: int,
    rounds: int,
    delta: float,
    noise_multiplier: float,
    clipping_norm: float,
    coordinates: int,
    sampling: Literal["poisson", "fixed"] = "poisson",
) -> Plan:
    """What this much noise comes to; its target is what it spends. A fixed cohort claims no amplification."""
    return _plan(
        population, cohort, rounds, None, delta, noise_multiplier, clipping_norm, coordinates, sampling
    )


def larger_cohorts(chosen: Plan) -> list[Plan]:
    """The same target with cohorts up to 50 times larger, as far as the population goes."""
    return [
        _with_cohort(chosen, chosen.cohort * factor)
        for factor in LARGER_COHORTS
        if chosen.cohort * factor <= chosen.population
    ]


def signal_to_noise(mechanism: CentralGaussian, coordinates: int) -> float:
    """The best case: the mean of updates that are all of norm C and all point one way has norm C.

    Its noise has the expected norm ``sqrt(D) * sigma * C / cohort``. C cancels.
    """
    return mechanism.clipping_norm / (math.sqrt(coordinates) * mechanism.noise_on_mean)


def _plan(
    population: int,
    cohort: int,
    rounds: int,
    target: float | None,
    delta: float,
    noise_multiplier: float,
    clipping_norm: float,
    coordinates: int,
    sampling: Literal["poisson", "fixed"] = "poisson",
) -> Plan:
    mechanism = CentralGaussian(clipping_norm, noise_multiplier, cohort)
    probability = cohort / population if sampling == "poisson" else 1.0
    spent = epsilon_of_rounds(noise_multiplier, probability, rounds, delta)
    return Plan(
        population=population,
        cohort=cohort,
        rounds=rounds,
        target_epsilon=spent if target is None else target,
        epsilon=spent,
        delta=delta,
        noise_multiplier=noise_multiplier,
        sampling_probability=probability,
        clipping_norm=clipping_norm,
        coordinates=coordinates,
        noise_per_coordinate=mechanism.noise_on_mean,
        signal_to_noise=signal_to_noise(mechanism, coordinates),
    )


def _with_cohort(chosen: Plan, cohort: int) -> Plan:
    if cohort == chosen.cohort:
        return chosen
    return make_plan(
        population=chosen.population,
        cohort=cohort,
        rounds=chosen.rounds,
        epsilon=chosen.target_epsilon,
        delta=chosen.delta,
        clipping_norm=chosen.clipping_norm,
        coordinates=chosen.coordinates,
    )
