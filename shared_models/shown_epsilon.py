"""Epsilon as people read it."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal


def epsilon_shown(epsilon: float) -> str:
    """Epsilon as it is shown to people: to two places, rounded up, since a guarantee must not be overstated."""
    if not math.isfinite(epsilon):
        return "∞"
    return str(Decimal(repr(float(epsilon))).quantize(Decimal("0.01"), rounding=ROUND_CEILING))
