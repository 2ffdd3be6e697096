"""Integers of 8, 4 or 2 bits with one scale a block of coordinates, rounded at random without bias.

A block's coordinates become multiples of its largest magnitude over ``2**(bits-1) - 1``. With random
rounding the decoded vector is the sent one in expectation, so what rounding adds averages out over a cohort.

Source: QSGD, Alistarh 2017 (arXiv 1610.02132, sections 3 and 4), with the largest magnitude of a block
("bucket" there) rather than its L2 norm as the scale, which is what its own experiments use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_models.compression.codec import Payload, Vector, check_length, read_scales
from shared_models.compression.float16 import SMALLEST_SCALE

# So many coordinates at a time stay in a core's second-level cache.
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Integers:
    """``bits`` (8, 4 or 2) a coordinate and a float32 scale a ``block`` of them."""

    size: int
    bits: int
    block: int

    @property
    def name(self) -> str:
        """What both sides must agree on."""
        return f"int{self.bits}/{self.block}"

    @property
    def levels(self) -> int:
        """The largest integer; the smallest is its negative."""
        return int((1 << (self.bits - 1)) - 1)

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return 4 * self._blocks + -(-self.size * self.bits // 8)

    @property
    def _blocks(self) -> int:
        return -(-self.size // self.block)

    def encode(self, vector: Vector, rng: np.random.Generator | None) -> bytes:
        """Scales, then packed integers."""
        scales = np.empty(self._blocks, dtype="<f4")
        integers = np.empty(self.size, dtype=np.int8)
        step = max(1, _CHUNK // self.block)
        for first in range(0, self._blocks, step):
            start, stop = first * self.block, min((first + step) * self.block, self.size)
            self._quantise(vector[start:stop], scales[first : first + step], integers[start:stop], rng)
        return scales.tobytes() + _pack(integers, self.bits)

    def decode(self, payload: Payload) -> Vector:
        """The coordinates; raises :class:`WireError` for a wrong length or scale."""
        view = check_length(self, payload)
        scales = read_scales(view[: 4 * self._blocks], self)
        integers = _unpack(view[4 * self._blocks :], self.bits, self.size)
        whole = self.size // self.block * self.block
        vector = np.empty(self.size, dtype=np.float32)
        with np.errstate(over="ignore"):
            blocks = vector[:whole].reshape(-1, self.block)
            np.multiply(integers[:whole].reshape(-1, self.block), scales[: len(blocks), None], out=blocks)
            if whole < self.size:
                np.multiply(integers[whole:], scales[-1], out=vector[whole:])
        return vector

    def _quantise(
        self, vector: Vector, scales: Vector, integers: NDArray[np.int8], rng: np.random.Generator | None
    ) -> None:
        blocks = vector
        if vector.size % self.block:
            blocks = np.concatenate([vector, np.zeros(-vector.size % self.block, dtype=np.float32)])
        blocks = blocks.reshape(-1, self.block)
        np.divide(np.maximum(blocks.max(axis=1), -blocks.min(axis=1)), self.levels, out=scales)
        # Blocks of nothing, or of numbers too small to be divided by, become zeros.
        scales[scales < SMALLEST_SCALE] = 0
        factors = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
        scaled = (blocks * factors[:, None]).reshape(-1)[: vector.size]
        if rng is None:
            np.rint(scaled, out=scaled)
        else:
            scaled += rng.random(scaled.size, dtype=np.float32)
            np.floor(scaled, out=scaled)
        # Rounding of the division may reach one past the last level.
        np.clip(scaled, -self.levels, self.levels, out=scaled)
        np.copyto(integers, scaled, casting="unsafe")


def _pack(integers: NDArray[np.int8], bits: int) -> bytes:
    if bits == 8:
        return integers.tobytes()
    each = 8 // bits
    padded = np.zeros(-(-integers.size // each) * each, dtype=np.uint8)
    np.add(integers, 1 << (bits - 1), out=padded[: integers.size], casting="unsafe")
    packed = padded[0::each].copy()
    for place in range(1, each):
        packed |= padded[place::each] << np.uint8(place * bits)
    return packed.tobytes()


def _unpack(view: memoryview, bits: int, size: int) -> NDArray[np.int8]:
    if bits == 8:
        return np.frombuffer(view, dtype=np.int8)
    each = 8 // bits
    packed = np.frombuffer(view, dtype=np.uint8)
    integers = np.empty(packed.size * each, dtype=np.int8)
    for place in range(each):
        digits = (packed >> np.uint8(place * bits)) & np.uint8((1 << bits) - 1)
        np.subtract(digits, 1 << (bits - 1), out=integers[place::each], casting="unsafe")
    return integers[:size]
