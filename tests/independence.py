"""Whether numbers that should have nothing to do with one another do, with false alarms once in 10^9 draws.

Draws from the operating system differ in every run of the tests, so a threshold must hold by itself: each is where
the statistic of *independent* draws is found with a probability of 1e-9 over everything that one call looks at.
"""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

FALSE_ALARM = 1e-9


def threshold(looks: int = 1) -> float:
    """How many standard errors ``looks`` two-sided normal statistics stay within, all of them."""
    return float(stats.norm.isf(FALSE_ALARM / (2 * looks)))


def most_correlated(parts: Tensor) -> float:
    """The largest rank correlation between rows of ``parts`` ``(n, D)``, of values and of sizes, over its threshold.

    Ranks, so that the null distribution is the permutations' whatever the numbers are: a variance of 1 / (D - 1).
    Sizes as well, because numbers may share them and still be uncorrelated (a radius without its angle).
    """
    count, size = parts.shape
    pairs = torch.triu_indices(count, count, 1)
    largest = 0.0
    for values in (parts, parts.abs()):
        ranks = values.argsort(1).argsort(1).double()
        correlation = torch.corrcoef(ranks)[pairs[0], pairs[1]]
        largest = max(largest, float(correlation.abs().max()))
    return largest * math.sqrt(size - 1) / threshold(2 * pairs.shape[1])


def most_repetitive(sequence: Tensor) -> float:
    """The largest autocorrelation of ``sequence`` ``(D,)`` at any distance, in values and in sizes, over its threshold.

    Blocks that repeat, a period, or a part that is another's mirror image all show here.
    """
    size, largest = len(sequence), 0.0
    normal = torch.from_numpy(stats.norm.ppf((_ranks(sequence) + 0.5) / size))
    sizes = torch.from_numpy(stats.norm.ppf((_ranks(sequence.abs()) + 0.5) / size))
    for values in (normal, sizes):
        spectrum = torch.fft.rfft(values)
        forward = torch.fft.irfft(spectrum.abs() ** 2, n=size)[1:]
        backward = torch.fft.irfft(spectrum**2, n=size)
        # The mirror image of a sequence is itself where it is mirrored: each pair is counted twice there.
        largest = max(largest, float(forward.abs().max()), float(backward.abs().max()) / math.sqrt(2))
    return largest / math.sqrt(size) / threshold(4 * size)


def _ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().double()
