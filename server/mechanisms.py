"""Central user-level differential privacy: who is sampled, and the noise on what is released.

Source: McMahan 2018 (arXiv 1710.06963, Algorithm 1 with the fixed-denominator estimator). The unit is a
person: each sends at most one update of norm C a round, all weigh the same, and the noised sum is divided by
the expected cohort, which is public, and never by the number that took part, which is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from server.aggregation import StreamingSum
from shared_models.errors import PrivacyError
from shared_models.noise import standard_normal, uniform

T = TypeVar("T")

# Part of what makes noise repeat: each block is one draw from the generator.
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class CentralGaussian:
    """The Gaussian mechanism on a sum of clipped updates.

    ``noise_cohort`` simulates a larger cohort's privacy with a small one (the scaling of pfl-research,
    arXiv 2404.06430): the noise on the mean is what that larger cohort's mean would carry, that is, the noise
    on the sum is smaller by ``expected_cohort / noise_cohort``. The guarantee is then the larger cohort's and
    not that of the people simulated; :meth:`describe` gives both sizes.
    """

    clipping_norm: float
    """C: adding or removing one person moves the sum by at most this much."""
    noise_multiplier: float
    """Noise on the sum (of the noise cohort) over C."""
    expected_cohort: float
    """The fixed denominator: sampling probability times population."""
    noise_cohort: float | None = None

    def __post_init__(self) -> None:
        for name in ("clipping_norm", "noise_multiplier", "expected_cohort"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise PrivacyError(
                    f"the {name.replace('_', ' ')} must be a finite number above 0, not {value}"
                )
        if self.noise_cohort is not None and self.noise_cohort < self.expected_cohort:
            raise PrivacyError(
                f"a noise cohort of {self.noise_cohort:g} is smaller than the cohort of "
                f"{self.expected_cohort:g} that really takes part: leave it out, or name a larger one"
            )

    @property
    def noise_on_mean(self) -> float:
        """Standard deviation of the noise on each coordinate of the released mean."""
        return self.noise_multiplier * self.clipping_norm / (self.noise_cohort or self.expected_cohort)

    @property
    def noise_on_sum(self) -> float:
        """Standard deviation of the noise on each coordinate of the sum of this cohort's updates."""
        return self.noise_on_mean * self.expected_cohort

    def release(self, total: StreamingSum, generator: torch.Generator | None) -> Tensor:
        """The noised mean update ``(D,)`` float32. An empty cohort releases noise like any other.

        ``generator`` is a simulation's, seeded from recipe and round, so that runs repeat. A live run passes
        None and draws from the operating system's cryptographic generator (see :mod:`shared_models.noise`,
        also for what floating point costs the guarantee).
        """
        out = torch.empty(total.size, dtype=torch.float32)
        for start in range(0, total.size, _BLOCK):
            value = torch.from_numpy(total.block(start, start + _BLOCK))
            noise = standard_normal(len(value), generator).mul_(self.noise_on_sum)
            out[start : start + _BLOCK] = noise.add_(value).div_(self.expected_cohort)
        return out

    def describe(self) -> str:
        """One sentence with the cohort that the noise stands for."""
        text = (
            f"Gaussian noise of {self.noise_multiplier:g} times the clipping norm {self.clipping_norm:g} "
            f"on the sum of {self.noise_cohort or self.expected_cohort:g} expected updates"
        )
        if self.noise_cohort is None:
            return text + "."
        return (
            text + f", scaled down to the {self.expected_cohort:g} simulated: those are not protected by it."
        )


def sample_cohort(
    population: Sequence[T],
    probability: float,
    generator: torch.Generator | None,
    kind: Literal["poisson", "fixed"],
) -> list[T]:
    """The members of one round's cohort, in the population's order.

    ``poisson`` tosses a coin of ``probability`` for each member and may choose nobody; this is what the
    accountant's amplification assumes. ``fixed`` takes ``round(probability * len(population))``, at least
    one, without replacement; no amplification is claimed for it. ``generator`` as in :meth:`release`.
    """
    if not 0 < probability <= 1:
        raise PrivacyError(f"a sampling probability must be above 0 and at most 1, and is {probability}")
    coins = uniform(len(population), generator)
    if kind == "poisson":
        chosen = (coins < probability).nonzero().flatten()
    else:
        chosen = coins.argsort(stable=True)[: max(1, round(probability * len(population)))].sort().values
    return [population[index] for index in chosen.tolist()]


def audit_noise(mechanism: CentralGaussian, told_noise_multiplier: float, *, size: int = 200_000) -> float:
    """Measure the noise that ``mechanism`` really adds against what the accountant was told.

    Releases an empty sum of ``size`` coordinates and returns measured over promised standard deviation.
    Raises :class:`PrivacyError` if the noise falls short by more than five standard errors.
    """
    released = mechanism.release(StreamingSum(size), generator=None).double()
    promised = told_noise_multiplier * mechanism.clipping_norm
    measured = float(released.std()) * (mechanism.noise_cohort or mechanism.expected_cohort)
    # The standard error of a standard deviation over n Gaussian draws is std / sqrt(2n).
    if measured < promised * (1 - 5 / math.sqrt(2 * size)):
        raise PrivacyError(
            f"the mechanism adds noise of {measured:.4g} where the accountant was told {promised:.4g}: "
            "the epsilon that it reports does not hold"
        )
    return measured / promised
