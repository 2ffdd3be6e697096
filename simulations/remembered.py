"""Features kept in memory after they were read once, as long as there is room for them."""

from __future__ import annotations

from collections.abc import Sequence

from shared_models.features import Features

ROOM = 3 * 2**30
"""Bytes for the features of a whole training: about 25 hours of speech."""


class Room:
    """So many bytes, shared by all who remember."""

    def __init__(self, size: int = ROOM) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Whether there were so many left, which are gone then."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


class RememberedFeatures(Sequence[Features]):
    """One speaker's features. Reading one from disk checks its hash, which costs a tenth of a training step."""

    def __init__(self, source: Sequence[Features], room: Room) -> None:
        self._source, self._room = source, room
        self._kept: dict[int, Features] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if index not in self._kept:
            found = self._source[index]
            if not self._room.take(found.nbytes):
                return found
            self._kept[index] = found
        return self._kept[index]
