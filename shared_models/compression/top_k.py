"""The largest coordinates alone: which they are, and their values in another codec.

What is left out must be kept and added to the next update (error feedback, ``client/rounds/compressed_update.py``),
or it would never arrive.

Source: Deep gradient compression, Lin 2018 (arXiv 1712.01887, section 3); error feedback for biased
compression, Karimireddy 2019 (arXiv 1901.09847).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shared_models.compression.codec import Codec, Payload, Vector, check_length
from shared_models.compression.sorted_indices import Indices, decode_indices, encode_indices, lengths

# Of so many coordinates, evenly spread, the first guess at the smallest that is sent is made.
_SAMPLE = 1 << 15


@dataclass(frozen=True, slots=True)
class TopK:
    """``values.size`` of ``size`` coordinates."""

    size: int
    values: Codec

    @property
    def name(self) -> str:
        """What both sides must agree on."""
        return f"top {self.values.size} of {self.values.name}"

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return sum(lengths(self.values.size, self.size)) + self.values.length

    def encode(self, vector: Vector, rng: np.random.Generator | None) -> bytes:
        """Indices, then values in their order."""
        indices = _largest(vector, self.values.size)
        return encode_indices(indices, self.size) + self.values.encode(vector[indices], rng)

    def decode(self, payload: Payload) -> Vector:
        """Zeros, but for what was sent; raises :class:`WireError` for what cannot have been."""
        view = check_length(self, payload)
        split = sum(lengths(self.values.size, self.size))
        indices = decode_indices(view[:split], self.values.size, self.size)
        vector = np.zeros(self.size, dtype=np.float32)
        vector[indices] = self.values.decode(view[split:])
        return vector


def count_of(size: int, share: float) -> int:
    """How many of ``size`` coordinates a share of them is: at least one of any."""
    return min(size, max(1, math.ceil(size * share))) if size else 0


def _largest(vector: Vector, count: int) -> Indices:
    """Ascending indices of the ``count`` largest magnitudes."""
    if count >= vector.size:
        return np.arange(vector.size, dtype=np.int64)
    magnitudes = np.abs(vector)
    # Selecting among all is slow. A sample's quantile leaves a few too many, and selecting among those is not.
    sample = magnitudes[:: max(1, vector.size // _SAMPLE)]
    kept = min(sample.size - 1, int(1.1 * sample.size * count / vector.size) + 8)
    threshold = np.partition(sample, sample.size - 1 - kept)[sample.size - 1 - kept]
    candidates = np.flatnonzero(magnitudes >= threshold)
    if candidates.size < count:
        candidates = np.arange(vector.size, dtype=np.int64)
    found = candidates
    if candidates.size > count:
        surplus = candidates.size - count
        found = np.sort(candidates[np.argpartition(magnitudes[candidates], surplus)[surplus:]])
    return found.astype(np.int64, copy=False)
