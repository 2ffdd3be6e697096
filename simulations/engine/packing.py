"""Flower messages as a small skeleton and, apart from it, their large arrays.

The skeleton is pickled and goes through a socket. The arrays' bytes do not: they lie in shared memory,
where a worker and the server both see them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flwr.app import Array

from shared_models import wire

_LARGE = 1 << 16
Buffer: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True)
class _Apart:
    """Stands for an array's bytes while the skeleton is pickled."""

    data: Buffer


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, large: int | None) -> None:
        super().__init__(file, protocol=5)
        self.buffers: list[Buffer] = []
        self._large = large

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Array:
            return NotImplemented
        data: Buffer = value.data
        apart = self._large is not None and memoryview(data).nbytes >= self._large
        return _array, (value.dtype, value.shape, value.stype, _Apart(data) if apart else bytes(data))

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is not _Apart:
            return None
        self.buffers.append(value.data)
        return len(self.buffers) - 1


class _Unpacker(pickle.Unpickler):
    def __init__(self, skeleton: bytes, buffers: Sequence[Buffer]) -> None:
        super().__init__(io.BytesIO(skeleton))
        self._buffers = buffers

    def persistent_load(self, index: int) -> Buffer:
        return self._buffers[index]


def pack(value: Any) -> tuple[bytes, list[Buffer]]:
    """The skeleton of a message, or of anything that holds records, and its large arrays' own bytes."""
    file = io.BytesIO()
    packer = _Packer(file, _LARGE)
    packer.dump(value)
    return file.getvalue(), packer.buffers


def pack_whole(value: Any) -> bytes:
    """One piece that holds everything, large arrays too."""
    file = io.BytesIO()
    _Packer(file, None).dump(value)
    return file.getvalue()


def unpack(skeleton: bytes, buffers: Sequence[Buffer] = ()) -> Any:
    """What was packed. An array in our own layout views its buffer; others are given ``bytes`` of their own,
    because Flower rebuilds its arrays from nothing else."""
    return _Unpacker(skeleton, buffers).load()


def _array(dtype: str, shape: tuple[int, ...], stype: str, data: Buffer) -> Array:
    array = Array(dtype, tuple(shape), stype, b"")
    # Assigned and not passed, since the constructor refuses a memoryview.
    array.data = data if stype == wire.STYPE else bytes(data)  # type: ignore[assignment]
    return array
