"""The noise of one Gaussian release, exactly (Balle and Wang 2018, arXiv 1805.06530, theorem 8 and algorithm 1)."""

from __future__ import annotations

import math

from scipy.optimize import brentq

from shared_models.accounting import LARGEST_NOISE, SMALLEST_NOISE, gaussian_epsilon
from shared_models.errors import PrivacyError


def analytic_noise_multiplier(epsilon: float, delta: float) -> float:
    """The least standard deviation, over the sensitivity, with which one release is (``epsilon``, ``delta``)-private.

    At least 0.1, below which no epsilon means anything. Raises :class:`PrivacyError` for an epsilon that is not above
    0 and finite, or that not even a noise multiplier of 10,000 gives.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise PrivacyError(f"epsilon must be a finite number above 0, and is {epsilon}")
    if gaussian_epsilon(SMALLEST_NOISE, delta) <= epsilon:
        return SMALLEST_NOISE
    if gaussian_epsilon(LARGEST_NOISE, delta) > epsilon:
        raise PrivacyError(
            f"epsilon {epsilon:g} at delta {delta:g} cannot be reached: even a noise multiplier of {LARGEST_NOISE:g} "
            "costs more, so allow more"
        )
    root = brentq(
        lambda log: gaussian_epsilon(math.exp(log), delta) - epsilon,
        math.log(SMALLEST_NOISE), math.log(LARGEST_NOISE), xtol=1e-12,
    )  # fmt: skip
    # On the safe side of what the root is off by.
    return math.exp(root) * (1 + 1e-8)
