"""Each matrix as the product of two thin ones; what is no matrix, or too small to gain, stays as it is.

A kernel of a convolution counts as the matrix (out, in * width). One power iteration from a random start finds
the directions; the product is the matrix projected on them, so its norm is never larger. What it leaves out
is kept for the next update (error feedback).

Source: PowerSGD, Vogels 2019 (arXiv 1905.13727, algorithm 1). There the workers average P and Q while they
compress, and begin with the last round's Q. Devices here meet a server once a round and seldom come twice in
a row, so each one's factors are its own, from a fresh start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_models.compression.codec import Codec, Payload, Vector, check_length
from shared_models.partition import SharedTensor

Matrix = NDArray[np.float32]
_ITERATIONS = 2


@dataclass(frozen=True, slots=True)
class LowRank:
    """Factors of rank ``rank`` of the tensors that a shared vector consists of, in the codec ``values``."""

    size: int
    tensors: tuple[SharedTensor, ...]
    rank: int
    values: Codec

    @property
    def name(self) -> str:
        """What both sides must agree on."""
        return f"rank {self.rank} of {self.values.name}"

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return self.values.length

    def encode(self, vector: Vector, rng: np.random.Generator | None) -> bytes:
        """All factors and small tensors one after the other."""
        start = rng or np.random.default_rng(0)
        parts = [_parts(vector[t.start : t.stop], t, self.rank, start) for t in self.tensors]
        return self.values.encode(np.concatenate([np.zeros(0, np.float32), *parts]), rng)

    def decode(self, payload: Payload) -> Vector:
        """The products; raises :class:`WireError` for what the values' codec refuses."""
        numbers = self.values.decode(check_length(self, payload))
        vector = np.empty(self.size, dtype=np.float32)
        used = 0
        for tensor in self.tensors:
            taken = numbers_of(tensor, self.rank)
            vector[tensor.start : tensor.stop] = _whole(numbers[used : used + taken], tensor, self.rank)
            used += taken
        return vector


def factor_size(tensors: Sequence[SharedTensor], rank: int) -> int:
    """How many numbers all tensors take."""
    return sum(numbers_of(tensor, rank) for tensor in tensors)


def numbers_of(tensor: SharedTensor, rank: int) -> int:
    """How many numbers one tensor takes: those of its factors, or its own where they are fewer."""
    rows, columns = _matrix_shape(tensor)
    return min(rows * columns, rank * (rows + columns))


def _matrix_shape(tensor: SharedTensor) -> tuple[int, int]:
    rows = tensor.shape[0] if tensor.shape else 1
    return rows, (tensor.stop - tensor.start) // max(1, rows)


def _is_factored(tensor: SharedTensor, rank: int) -> bool:
    rows, columns = _matrix_shape(tensor)
    return rank * (rows + columns) < rows * columns


def _parts(numbers: Vector, tensor: SharedTensor, rank: int, rng: np.random.Generator) -> Vector:
    if not _is_factored(tensor, rank):
        return numbers
    left, right = _factors(numbers.reshape(_matrix_shape(tensor)), rank, rng)
    return np.concatenate([left.T.reshape(-1), right.T.reshape(-1)])


def _factors(matrix: Matrix, rank: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """``(rows, rank)`` and ``(columns, rank)`` whose product comes near ``matrix``."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if largest == 0.0:
        return np.zeros((matrix.shape[0], rank), np.float32), np.zeros((matrix.shape[1], rank), np.float32)
    # Squares of an update's coordinates are near the end of float32, and gone where they are tiny.
    relative = matrix / np.float32(largest)
    right = rng.standard_normal((matrix.shape[1], rank), dtype=np.float32)
    for _ in range(_ITERATIONS):
        left = np.linalg.qr(relative @ right)[0]
        right = relative.T @ left
    # Both sides of a product share its size, so that rounding harms neither more.
    size = np.sqrt(np.linalg.norm(right, axis=0))
    balanced = np.divide(right, size, out=np.zeros_like(right), where=size > 0)
    root = np.float32(np.sqrt(largest))
    return left * size * root, balanced * root


def _whole(numbers: Vector, tensor: SharedTensor, rank: int) -> Vector:
    if not _is_factored(tensor, rank):
        return numbers
    rows, columns = _matrix_shape(tensor)
    left = numbers[: rank * rows].reshape(rank, rows)
    right = numbers[rank * rows :].reshape(rank, columns)
    with np.errstate(over="ignore", invalid="ignore"):
        return (left.T @ right).reshape(-1)
