"""A mean over speakers and how far to trust it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

_RESAMPLES = 10_000
_FEWER_RESAMPLES = 1_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its confidence interval, which is NaN for a single speaker."""

    mean: float
    low: float
    high: float
    count: int
    """Speakers that it is a mean of."""

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.count})"


def bootstrap_mean(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = _RESAMPLES, seed: int = 0
) -> Estimate:
    """Mean of one value a speaker, with its percentile bootstrap interval (Efron 1979).

    Values that are NaN (a metric that a speaker has none of) are left out. The same values and seed give the
    same interval.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if len(known) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Estimate(mean, float("nan"), float("nan"), 1)
    drawn = np.random.default_rng(seed).choice(known, size=(resamples, len(known)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn.mean(axis=1), [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), len(known))


def mean_over_speakers(
    by_speaker: Mapping[str, Sequence[float]], *, confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """Mean over speakers of each speaker's mean over clips, because clips of one speaker are not independent.

    Every speaker weighs the same, however many clips there are.
    """
    means = []
    for clips in by_speaker.values():
        known = [clip for clip in clips if not np.isnan(clip)]
        means.append(float(np.mean(known)) if known else float("nan"))
    return bootstrap_mean(means, confidence=confidence, seed=seed)


def bootstrap_of(
    speakers: Sequence[T],
    statistic: Callable[[Sequence[T]], float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A ``statistic`` of all speakers that is no mean over them, with its percentile bootstrap interval.

    Each resample is of as many speakers, drawn with replacement. ``mean`` is the statistic itself.
    """
    value = statistic(speakers)
    if len(speakers) < 2:
        return Estimate(value, float("nan"), float("nan"), len(speakers))
    random = np.random.default_rng(seed)
    drawn = random.integers(len(speakers), size=(_FEWER_RESAMPLES, len(speakers)))
    found = [statistic([speakers[index] for index in indices]) for indices in drawn]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), len(speakers))
