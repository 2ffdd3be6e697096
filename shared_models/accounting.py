"""What Gaussian releases cost together: composition of privacy loss distributions (PLD).

Server and device count with the same code. Every figure is an upper bound: distributions are discretised
pessimistically. Neighbours differ by one unit's presence (add or remove one).

Sources: Koskela 2020 (arXiv 1906.03049); Meiser and Mohammadi 2018; Doroshenko 2022 ("Connect the dots",
arXiv 2207.04380), as implemented by Google's dp-accounting. Its convolutions give up a mass of 1e-15 and round in
float64, so that below a delta of 1e-12 compositions are bounded by Renyi divergences instead (Mironov 2019, arXiv
1908.10530), which are a little looser and exact in their tails.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from scipy.special import log_ndtr, ndtr

from shared_models.errors import PrivacyError

SMALLEST_NOISE = 0.1
LARGEST_NOISE = 10_000.0
# How finely losses are discretised. Against grids many times finer these cost below 0.1% of epsilon.
_SMALLEST_COMPOSED_DELTA = 1e-12
_CELLS_PER_SPREAD, _MOST_CELLS, _WIDEST_CELL = 50, 30_000, 1e-3


@dataclass(frozen=True, slots=True)
class SampledGaussian:
    """So many releases of a Gaussian mechanism on a Poisson sample of the units."""

    noise_multiplier: float
    """Standard deviation of the noise over the sensitivity of the sum."""
    sampling_probability: float
    """The chance of each unit to be in a release, by its own coin; 1 claims no amplification."""
    steps: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise PrivacyError(
                f"a noise multiplier of {self.noise_multiplier} protects nobody: it must be above 0"
            )
        if not 0 < self.sampling_probability <= 1:
            raise PrivacyError(
                f"a sampling probability must be above 0 and at most 1, and is {self.sampling_probability}: "
                "a cohort cannot be larger than the population"
            )
        if self.steps < 0:
            raise PrivacyError(f"{self.steps} releases cannot be accounted for: a count is 0 or more")


def epsilon_of(releases: Iterable[SampledGaussian], delta: float) -> float:
    """The epsilon of all releases together at ``delta``; 0 for none, infinite where the bound is void."""
    if not 0 < delta < 1:
        raise PrivacyError(f"delta must lie between 0 and 1, and is {delta}: take well below 1 / population")
    counts: Counter[tuple[float, float]] = Counter()
    precision = 0.0
    for release in releases:
        if release.sampling_probability == 1:
            # Full-batch Gaussians compose into one, exactly: precisions add.
            precision += release.steps / release.noise_multiplier**2
        elif release.steps:
            counts[(release.noise_multiplier, release.sampling_probability)] += release.steps
    if precision:
        counts[(precision**-0.5, 1.0)] += 1
    return _composed_epsilon(tuple(sorted(counts.items())), delta)


def gaussian_epsilon(noise_multiplier: float, delta: float) -> float:
    """The epsilon of one Gaussian release without sampling, in closed form and at once; no less than it is.

    Releases without sampling compose into one, of noise multiplier ``sum(n_i^-2) ** -0.5``. Source: Balle and Wang
    2018 (arXiv 1805.06530, theorem 8), which is exact where :func:`epsilon_of` gives an upper bound.
    """
    if not 0 < delta < 1:
        raise PrivacyError(f"delta must lie between 0 and 1, and is {delta}: take well below 1 / population")
    mu = 1 / SampledGaussian(noise_multiplier, 1.0).noise_multiplier

    def excess(epsilon: float) -> float:
        # The second term in logarithms: epsilon may be large where its factor is small.
        return (
            float(ndtr(mu / 2 - epsilon / mu))
            - math.exp(epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))
            - delta
        )

    if excess(0.0) <= 0:
        return 0.0
    from scipy.optimize import brentq  # half a second, for which no process waits that accounts for nothing

    highest = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1.0  # above the bound by moments
    return float(brentq(excess, 0.0, highest, xtol=1e-12, rtol=1e-12)) * (1 + 1e-9)


def composed_by(delta: float) -> str:
    """By what releases are composed at this delta, for whoever checks the figure."""
    return "Renyi divergences" if delta < _SMALLEST_COMPOSED_DELTA else "privacy loss distributions"


def noise_multiplier_for(epsilon: float, delta: float, sampling_probability: float, steps: int) -> float:
    """The least noise multiplier with which ``steps`` releases cost at most ``epsilon``.

    Rounded up to four digits, and at least 0.1, below which no epsilon means anything. Raises
    :class:`PrivacyError` if not even a noise multiplier of 10,000 is enough; the message says what would be
    reached.
    """

    def cost(noise_multiplier: float) -> float:
        return epsilon_of([SampledGaussian(noise_multiplier, sampling_probability, steps)], delta)

    if not (math.isfinite(epsilon) and epsilon > 0):
        raise PrivacyError(f"epsilon must be a finite number above 0, and is {epsilon}")
    if steps < 1:
        raise PrivacyError(
            f"a noise multiplier for {steps} releases was asked for: there must be at least one"
        )
    low = high = 1.0
    while cost(high) > epsilon:
        if high == LARGEST_NOISE:
            raise PrivacyError(
                f"epsilon {epsilon:g} at delta {delta:g} cannot be reached: even a noise multiplier of "
                f"{LARGEST_NOISE:g} costs {cost(high):.3g} over {steps} releases, so allow more or "
                "release less often"
            )
        low, high = high, min(2 * high, LARGEST_NOISE)
    while low == high or (cost(low) <= epsilon and low > SMALLEST_NOISE):
        high, low = low, max(low / 2, SMALLEST_NOISE)
    if cost(low) <= epsilon:
        return low
    from scipy.optimize import brentq

    # Bracketed as epsilon(low) > epsilon >= epsilon(high), and close to straight in logarithms.
    root = brentq(
        lambda log: math.log(cost(math.exp(log)) / epsilon), math.log(low), math.log(high), xtol=1e-4
    )
    answer = _four_digits_up(math.exp(root))
    while cost(answer) > epsilon:
        answer = _four_digits_up(answer * 1.0002)
    return answer


def _four_digits_up(value: float) -> float:
    place = math.floor(math.log10(value)) - 3
    return round(math.ceil(value / 10.0**place) * 10.0**place, -place)


@lru_cache(maxsize=4096)
def _composed_epsilon(counts: tuple[tuple[tuple[float, float], int], ...], delta: float) -> float:
    if not counts:
        return 0.0
    if delta < _SMALLEST_COMPOSED_DELTA and sum(steps for _, steps in counts) > 1:
        return _renyi_epsilon(counts, delta)
    interval = min(_interval(noise, probability) for (noise, probability), _ in counts)
    interval = max(interval, *(_coarsest(noise, probability) for (noise, probability), _ in counts))
    total: Any = None
    for (noise, probability), steps in counts:
        part = _loss_distribution(noise, probability, interval)
        part = part.self_compose(steps) if steps > 1 else part
        total = part if total is None else total.compose(part)
    return float(total.get_epsilon_for_delta(delta))


@lru_cache(maxsize=32)
def _loss_distribution(noise: float, probability: float, interval: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        noise, value_discretization_interval=interval, sampling_prob=probability
    )


def _renyi_epsilon(counts: tuple[tuple[tuple[float, float], int], ...], delta: float) -> float:
    from dp_accounting import dp_event
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    for (noise, probability), steps in counts:
        gaussian = dp_event.GaussianDpEvent(noise)
        one = gaussian if probability == 1 else dp_event.PoissonSampledDpEvent(probability, gaussian)
        accountant.compose(one, steps)
    return float(accountant.get_epsilon(delta))


def _interval(noise: float, probability: float) -> float:
    """The grid of losses: fine against the spread of one step's loss, so that many steps stay accurate."""
    spread = probability * math.sqrt(math.expm1(min(1 / noise**2, 50.0)))
    return 2.0 ** math.floor(math.log2(min(_WIDEST_CELL, spread / _CELLS_PER_SPREAD)))


def _coarsest(noise: float, probability: float) -> float:
    """The finest grid that keeps one step's distribution within 30,000 cells."""
    exponent = 1 / (2 * noise**2) + 10 / noise
    largest = math.log1p(probability * math.expm1(min(exponent, 700.0))) + max(0.0, exponent - 700.0)
    return 2.0 ** math.ceil(math.log2(largest / _MOST_CELLS))
