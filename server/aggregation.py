"""Adding updates up, one by one and exactly; the server's memory does not grow with the cohort.

A sum of floating-point numbers depends on their order, and updates arrive in no fixed order. So each coordinate of
an update is rounded to a fixed-point number, and integers are added. Two engines, two runs, or a resumed run give the
same bits in whatever order the updates arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from shared_models.clipping import require_float32
from shared_models.errors import WireError

FRACTION_BITS = 36
LARGEST_COORDINATE = 64.0
MOST_UPDATES = 1 << 20

# Two temporaries of this many float64 stay in a core's second-level cache.
_BLOCK = 1 << 17
_WORTH_A_THREAD = 1 << 20
# 1.5 * 2**16 has a last place of 2**-36, so adding a float to it rounds that float to a multiple of 2**-36
# and leaves the multiple, as an integer, in the low bits of the sum.
_MAGIC = 1.5 * 2.0 ** (52 - FRACTION_BITS)
_MAGIC_BITS = int(np.float64(_MAGIC).view(np.int64))


class StreamingSum:
    """The exact sum of updates ``(size,)`` float32, in 64-bit fixed point with 36 fractional bits.

    Why it cannot overflow: a coordinate is at most 64 = 2**6 in size, because
    :func:`~server.validation.validate_update` refuses more, so its integer is at most 2**42, and 2**20
    updates add up to at most 2**62, below the 2**63 of an int64. Rounding moves a coordinate by at most
    2**-37, or 7e-12, to nearest, which is far below what float32 weights can hold. Integer addition is
    associative and commutative, hence the order cannot matter.

    The cast is done in the float64 adder: ``x + 1.5 * 2**16`` has the wanted integer in its low bits on top
    of the constant's own pattern, and the patterns come off together, modulo 2**64, when the sum is read.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self._bits = np.zeros(size, dtype=np.int64)
        self._wide = [np.empty(min(size, _BLOCK), dtype=np.float64) for _ in range(2)]
        self._second = ThreadPoolExecutor(1) if size >= _WORTH_A_THREAD else None

    def add(self, update: Tensor) -> None:
        """Add one update ``(size,)`` float32 that :func:`~server.validation.validate_update` has passed."""
        self.add_many([update])

    def add_many(self, updates: Sequence[Tensor]) -> None:
        """Add several validated updates in one pass over the sum."""
        arrays = [self._array(update) for update in updates]
        if self.count + len(arrays) > MOST_UPDATES:
            raise WireError(
                f"more than {MOST_UPDATES} updates in one sum: split the cohort into several rounds"
            )
        if self._second is None:
            self._add_range(arrays, 0, self.size, self._wide[0])
        else:
            # The server waits on memory here, and numpy lets go of the interpreter: a second core helps.
            middle = self.size // 2
            first_half = self._second.submit(self._add_range, arrays, 0, middle, self._wide[0])
            self._add_range(arrays, middle, self.size, self._wide[1])
            first_half.result()
        self.count += len(arrays)

    def _add_range(
        self,
        arrays: Sequence[np.ndarray[tuple[int], np.dtype[np.float32]]],
        first: int,
        last: int,
        buffer: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> None:
        for start in range(first, last, _BLOCK):
            stop = min(start + _BLOCK, last)
            total, wide = self._bits[start:stop], buffer[: stop - start]
            for array in arrays:
                np.copyto(wide, array[start:stop])
                np.add(wide, _MAGIC, out=wide)
                np.add(total, wide.view(np.int64), out=total)

    def merge(self, other: StreamingSum) -> None:
        """Add another sum of the same size, e.g. of another process."""
        if other.size != self.size:
            raise WireError(f"a sum of {other.size} coordinates cannot be merged into one of {self.size}")
        if self.count + other.count > MOST_UPDATES:
            raise WireError(
                f"more than {MOST_UPDATES} updates in one sum: split the cohort into several rounds"
            )
        np.add(self._bits, other._bits, out=self._bits)
        self.count += other.count

    def mean(self, denominator: float) -> Tensor:
        """The sum over ``denominator``, ``(size,)`` float32, each coordinate rounded once.

        The denominator is the caller's: the count of updates, or, under differential privacy, the expected
        cohort, which does not tell how many took part.
        """
        out = torch.empty(self.size, dtype=torch.float32)
        for start in range(0, self.size, _BLOCK):
            block = self.block(start, start + _BLOCK)
            out[start : start + _BLOCK] = torch.from_numpy(block / denominator)
        return out

    def block(self, start: int, stop: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Coordinates ``start`` to ``stop`` of the sum, in float64."""
        offset = np.uint64((self.count * _MAGIC_BITS) % (1 << 64))
        # Unsigned, because taking the patterns off wraps around by design.
        integers = (self._bits[start:stop].view(np.uint64) - offset).view(np.int64)
        return integers.astype(np.float64) * 2.0**-FRACTION_BITS

    def _array(self, update: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        flat = require_float32(update)
        if flat.numel() != self.size:
            raise WireError(_wrong_length(flat.numel(), self.size))
        return flat.numpy()


def _wrong_length(found: int, expected: int) -> str:
    return (
        f"an update of {found} coordinates where the model has {expected}: both sides must use the same "
        "recipe"
    )
