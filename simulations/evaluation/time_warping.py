"""Dynamic time warping: which frames of two recordings of one sentence belong together (Sakoe 1978)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
_Indices = NDArray[np.int64]

_DIAGONAL_WEIGHT = 2.0
"""A diagonal step counts as one in each direction, so that no direction is cheaper: the symmetric form."""


def pairwise_distances(first: _Array, second: _Array) -> _Array:
    """Euclidean distances ``(T1, T2)`` between the rows of ``(T1, D)`` and of ``(T2, D)``."""
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares - 2 * first @ second.T, 0.0)))


def warp(distances: _Array) -> tuple[_Indices, _Indices]:
    """The cheapest monotonic path through ``distances (T1, T2)``: row and column of each of its pairs.

    It starts at the first pair, ends at the last and skips nothing. Swapping the two recordings swaps rows
    and columns and nothing else, except between paths of equal cost.
    """
    total = _accumulate(distances)
    row, column = distances.shape[0] - 1, distances.shape[1] - 1
    path = [(row, column)]
    while row or column:
        here = distances[row, column]
        steps = (
            (total[row, column] + _DIAGONAL_WEIGHT * here, row - 1, column - 1),
            (total[row, column + 1] + here, row - 1, column),
            (total[row + 1, column] + here, row, column - 1),
        )
        _, row, column = min(steps, key=lambda step: step[0])
        path.append((row, column))
    rows, columns = np.array(path[::-1]).T
    return rows, columns


def _accumulate(distances: _Array) -> _Array:
    """Cost of the best path to each pair ``(T1 + 1, T2 + 1)``, with a border of infinities.

    All pairs of one antidiagonal depend only on the two before it, so each is computed at once.
    """
    rows, columns = distances.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = -distances[0, 0]  # the first pair counts once, not as a diagonal step
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        here = distances[i, j]
        straight = np.minimum(total[i, j + 1], total[i + 1, j]) + here
        total[i + 1, j + 1] = np.minimum(total[i, j] + _DIAGONAL_WEIGHT * here, straight)
    return total
