"""Flat clipping: one L2 norm over a user's whole update.

Source: McMahan 2018 (arXiv 1710.06963, section 2). Flat rather than per layer, because the noise of the
Gaussian mechanism depends on the norm of everything that one person sends.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from shared_models.errors import DivergedError, PrivacyError, WireError

_BLOCK = 1 << 16
SMALLEST_NORM = 1e-12


def l2_norm(update: Tensor) -> float:
    """The L2 norm of a float32 tensor of any shape, summed in float64 (no overflow, no cancellation).

    NaN if any coordinate is NaN, infinite if any is infinite.
    """
    flat = update.detach().reshape(-1).numpy()
    wide = np.empty(_BLOCK, dtype=np.float64)
    total = 0.0
    with np.errstate(invalid="ignore"):
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            squares = wide[: block.size]
            np.copyto(squares, block)
            total += float(np.dot(squares, squares))
    return math.sqrt(total) if not math.isnan(total) else math.nan


def clip(update: Tensor, norm: float, *, in_place: bool = False) -> tuple[Tensor, float]:
    """Scale ``update`` down to an L2 norm of at most ``norm``; smaller updates are left as they are.

    Takes a float32 CPU tensor ``(D,)``, or of any shape (flattened), and returns the clipped ``(D,)`` and
    the norm before. The result's norm never exceeds ``norm * (1 + 1e-6)``: the factor is rounded down to
    float32, so what is left is the rounding of the products, 6e-8. A zero update stays zero. ``in_place``
    overwrites ``update`` where clipping is needed.

    Raises :class:`WireError` for NaN, infinite or non-float32 coordinates, and :class:`PrivacyError` for a
    norm that is not a positive number.
    """
    if not (math.isfinite(norm) and norm >= SMALLEST_NORM):
        raise PrivacyError(
            f"the clipping norm must be a finite number of at least {SMALLEST_NORM:g}, not {norm}"
        )
    flat = require_float32(update)
    before = l2_norm(flat)
    if not math.isfinite(before):
        raise DivergedError(
            "the update holds NaN or infinite numbers: training diverged, so lower the learning rate"
        )
    if before <= norm:
        return flat, before
    factor = np.float32(norm / before)
    if float(factor) > norm / before:
        factor = np.nextafter(factor, np.float32(0.0))
    clipped = flat.mul_(float(factor)) if in_place else flat * float(factor)
    return clipped, before


def require_float32(update: Tensor) -> Tensor:
    """``update`` as a flat ``(D,)`` view without gradient. Raises :class:`WireError` if it is not float32."""
    if update.dtype != torch.float32:
        raise WireError(
            f"an update of {update.dtype} cannot be clipped, noised or averaged: only float32 parameters "
            "may be shared"
        )
    return update.detach().reshape(-1)
