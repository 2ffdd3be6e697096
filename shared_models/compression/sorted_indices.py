"""Ascending indices in close to the fewest bits, without a loop: each one's low bits as they are, its high
bits as gaps in unary.

For k of D indices this takes log2(D / k) + 2 bits each, within half a bit of the entropy of a random subset,
and the length depends on k and D alone.

Source: Elias 1974, "Efficient storage and retrieval by content and address of static files" (J. ACM 21);
Fano 1971, "On the number of bits required to implement an associative memory" (MIT Project MAC, memo 61).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_models.errors import WireError

Indices = NDArray[np.int64]


def low_bits(count: int, size: int) -> int:
    """How many bits of an index are written as they are."""
    return max(0, (size // count).bit_length() - 1) if count else 0


def lengths(count: int, size: int) -> tuple[int, int]:
    """Bytes of the low bits and of the high ones."""
    low = low_bits(count, size)
    high = count + ((size - 1) >> low) + 1 if count else 0
    return -(-count * low // 8), -(-high // 8)


def encode_indices(indices: Indices, size: int) -> bytes:
    """The bytes of strictly ascending ``indices`` below ``size``."""
    count = len(indices)
    low = low_bits(count, size)
    _, high_length = lengths(count, size)
    digits = (indices[:, None] >> np.arange(low)) & 1
    marks = np.zeros(8 * high_length, dtype=np.uint8)
    # The i-th mark stands i places behind its value, so every gap is as many zeros.
    marks[(indices >> low) + np.arange(count)] = 1
    return np.packbits(digits.astype(np.uint8).reshape(-1)).tobytes() + np.packbits(marks).tobytes()


def decode_indices(view: memoryview, count: int, size: int) -> Indices:
    """The indices again. Raises :class:`WireError` unless they are ``count``, ascending and below ``size``."""
    low = low_bits(count, size)
    low_length, _ = lengths(count, size)
    marks = np.flatnonzero(np.unpackbits(np.frombuffer(view[low_length:], dtype=np.uint8)))
    if len(marks) != count:
        raise WireError(f"a payload marks {len(marks)} indices where the recipe sends {count}")
    digits = np.unpackbits(np.frombuffer(view[:low_length], dtype=np.uint8), count=count * low)
    indices = (marks - np.arange(count)) << low
    for place, column in enumerate(digits.reshape(count, low).T):
        indices |= column.astype(np.int64) << place
    if count and (indices[-1] >= size or not bool(np.all(np.diff(indices) > 0))):
        raise WireError(f"a payload's indices are not ascending below {size}")
    return indices
