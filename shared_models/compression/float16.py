"""Half-precision numbers, relative to the largest one.

A half has 11 bits of precision between 6e-5 and 65504 only; an update's coordinates are often below that,
so they are divided by the largest of them first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shared_models.compression.codec import Payload, Vector, check_length, read_scales

_SCALE = 4
# Below this the reciprocal of a float32 overflows.
SMALLEST_SCALE = np.float32(1e-37)


@dataclass(frozen=True, slots=True)
class Float16:
    """Two bytes a coordinate, rounded to nearest: relative error at most 2**-11 down to 6e-5 of the largest."""

    size: int

    @property
    def name(self) -> str:
        """What both sides must agree on."""
        return "float16"

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return _SCALE + 2 * self.size

    def encode(self, vector: Vector, rng: np.random.Generator | None) -> bytes:  # noqa: ARG002
        """The largest magnitude, and every coordinate relative to it."""
        largest = np.float32(max(vector.max(), -vector.min())) if vector.size else np.float32(0)
        if largest < SMALLEST_SCALE:
            return bytes(self.length)
        # torch rounds to halves with the processor's own instruction, numpy bit by bit.
        halves = torch.from_numpy(vector).div(float(largest)).to(torch.float16).numpy()
        scale: bytes = largest.astype("<f4").tobytes()
        return scale + halves.astype("<f2", copy=False).tobytes()

    def decode(self, payload: Payload) -> Vector:
        """The coordinates; raises :class:`WireError` for a wrong length or scale."""
        view = check_length(self, payload)
        scale = read_scales(view[:_SCALE], self)
        halves = np.frombuffer(view[_SCALE:], dtype="<f2").astype(np.float16)
        vector: Vector = torch.from_numpy(halves).to(torch.float32).mul_(float(scale[0])).numpy()
        return vector
