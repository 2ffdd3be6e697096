"""Shrinking a noisy mean towards zero: the positive-part James-Stein estimator, and what it says about a round.

The released mean is ``y = m + s z`` with ``m`` unknown, ``z`` standard normal and ``s`` known, since it is the
mechanism's own. Where ``D`` is 3, or more, ``(1 - (D - 2) s^2 / |y|^2) y`` has a smaller expected squared error than
``y``, whatever ``m`` is, and cutting the factor off at 0 makes it smaller still. Where noise dominates, the factor is
about 0, so that a round changes next to nothing instead of destroying the weights. All of this reads what is released
anyway: it is post-processing, costs no privacy, and the factor may be told to anybody.

Sources: Stein 1956, "Inadmissibility of the usual estimator for the mean of a multivariate normal distribution";
James and Stein 1961, "Estimation with quadratic loss"; Baranchik 1964 for the positive part.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BLOCK = 1 << 20
_STANDARD_ERRORS = 3.0


def james_stein_factor(mean: Tensor, noise: float) -> float:
    """The factor for ``mean`` ``(D,)`` with noise of standard deviation ``noise`` a coordinate, from 0 to 1.

    1 where there is no noise, or fewer than three coordinates. Not a number for a mean that is not finite.
    """
    if noise == 0 or mean.numel() < 3:
        return 1.0
    squared = squared_norm(mean)
    if math.isnan(squared):
        return math.nan
    return max(0.0, 1.0 - (mean.numel() - 2) * noise**2 / squared) if squared else 0.0


def indistinguishable_from_noise(factor: float, coordinates: int) -> bool:
    """Whether noise alone gives such a factor: ``|y|^2 / s^2`` is then chi-squared with D degrees of freedom.

    Its standard deviation is ``sqrt(2 D)``, so noise alone exceeds three times ``sqrt(2 / D)`` once in some 700
    releases, and a mean whose norm is ``r`` times the noise's is told from it once ``r^2`` is well above that.
    """
    return not factor > _STANDARD_ERRORS * math.sqrt(2 / coordinates)


def squared_norm(vector: Tensor) -> float:
    """The squared norm, in float64 whatever the vector's type, in constant memory."""
    blocks = (vector[start : start + _BLOCK].double() for start in range(0, vector.numel(), _BLOCK))
    return float(sum((torch.dot(block, block) for block in blocks), torch.zeros((), dtype=torch.float64)))
