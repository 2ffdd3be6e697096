"""Gaussian noise, repeatable in a simulation and unpredictable in a live run.

A ``torch.Generator`` stands for a simulation. It must never guard real people: its Mersenne Twister uses
32 bits of any seed, so noise can be found by trying them all. Without a generator the noise comes from the
operating system's cryptographic generator.

What floating point costs (Mironov 2012, "On significance of the least significant bits"): the textbook
Gaussian is continuous, these numbers are not, and the exact bits of ``value + noise`` can in principle tell
values apart that the proof calls indistinguishable. Noise is drawn and added in float64 and the result
rounded once to float32, so that each published number has some 2**29 preimages and the low bits of the draw
are not published. That is a mitigation and no proof; a proof needs a discrete mechanism.
"""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from torch import Tensor


def standard_normal(size: int, generator: torch.Generator | None) -> Tensor:
    """``(size,)`` float64 draws of N(0, 1): from ``generator``, or the operating system if it is None."""
    if generator is not None:
        return torch.randn(size, generator=generator, dtype=torch.float64)
    pairs = (size + 1) // 2
    # Box-Muller. The radius takes 1 - u in (0, 1], so that its logarithm is finite: |noise| is at most 8.6.
    radius = np.sqrt(-2.0 * np.log1p(-_secure_uniform(pairs)))
    angle = 2.0 * math.pi * _secure_uniform(pairs)
    return torch.from_numpy(np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size])


def uniform(size: int, generator: torch.Generator | None) -> Tensor:
    """``(size,)`` float64 draws from [0, 1), for coins: from ``generator`` or the operating system."""
    if generator is not None:
        return torch.rand(size, generator=generator, dtype=torch.float64)
    return torch.from_numpy(_secure_uniform(size))


def _secure_uniform(size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    words = np.frombuffer(os.urandom(8 * size), dtype=np.uint64)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
