"""How often to poll: often during a round, and seldom between rounds."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Pauses of ``least`` seconds for a while after something happened, growing to ``most``.

    A round's messages come close together; between rounds a phone should not ask five times a second.
    """

    def __init__(
        self,
        least: float,
        most: float,
        lively_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.least, self.most, self.lively_seconds = least, most, lively_seconds
        self._clock = clock
        self._happened_at = clock()
        self._pause = least

    def happened(self) -> None:
        """Something did: ask often from now on."""
        self._happened_at = self._clock()
        self._pause = self.least

    def next_pause(self) -> float:
        """Seconds until it is worth asking again."""
        pause = self._pause
        if self._clock() - self._happened_at > self.lively_seconds:
            self._pause = min(self.most, pause * 1.25)
        return pause
