"""The phases from which a search for them starts: the same numbers with torch and without.

torch's generator needs torch, and NumPy does not promise what its distributions give from one version to the
next. The raw bits of PCG64 are promised, so phases are made of those.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_TURN = 2 * math.pi / 2**24


def first_phases(frames: int, bins: int, seed: int = 0) -> NDArray[np.complex64]:
    """Random directions ``(frames, bins)`` of length 1, always the same for a ``seed``.

    Drawn frame by frame: the first frames are alike however many follow.
    """
    # 24 bits are all that a float32 below 1 can tell apart.
    bits = np.random.PCG64(seed).random_raw(frames * bins) >> np.uint64(40)
    angles = (bits.astype(np.float32) * np.float32(_TURN)).reshape(frames, bins)
    directions = np.empty((frames, bins), np.complex64)
    np.cos(angles, out=directions.real)
    np.sin(angles, out=directions.imag)
    return directions
