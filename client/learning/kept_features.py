"""Features that stay where training reads them, in memory or on an accelerator, from their first use on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from shared_models.accelerator import CPU
from shared_models.features import Features

DEVICES_ROOM = 1 << 30
"""Bytes of a device's utterances that stay on an accelerator: eight hours of speech without further signals."""
TRAININGS_ROOM = 3 << 30
"""Bytes of all utterances of a centralised training that stay: about 25 hours of speech."""


class Room:
    """So many bytes, shared by all that is kept in them."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Whether there were so many left, which are gone then."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


class KeptFeatures(Sequence[Features]):
    """One speaker's features on ``device``, as far as there is room; the others are read, and moved, anew each time.

    Reading one from disk checks its hash, which costs a tenth of a training step.
    """

    def __init__(self, source: Sequence[Features], room: Room, device: torch.device = CPU) -> None:
        self.device = device
        self._source, self._room = source, room
        self._kept: dict[int, Features] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if index not in self._kept:
            found = self._source[index].to(self.device)
            if not self._room.take(found.nbytes):
                return found
            self._kept[index] = found
        return self._kept[index]
