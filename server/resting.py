"""Which devices are not asked for a while: those that answered a question with a refusal or a failure.

A question carries the whole weights. A device whose owner does not allow the recipe, or whose disk is full, gives
the same answer to the next one, so that asking it every round costs traffic and nothing else. It is asked again
after a pause that doubles with each refusal in a row, up to a ceiling, and at once when it was seen offline
meanwhile: whoever changes a policy or frees a disk may restart the device.

A device that rests is drawn like any other, since the cohort is drawn from the whole population. It counts as a device
that sent zeros.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from server.drops import Drop

FIRST_SECONDS = 30.0
MOST_SECONDS = 900.0
_RESTS_AFTER = frozenset(
    {Drop.DECLINED, Drop.DISK, Drop.DIVERGED, Drop.ROLLED_BACK, Drop.SERVER_ROLLED_BACK, Drop.FAILED, Drop.OVERSIZED,
     Drop.MALFORMED, Drop.NOT_FINITE, Drop.NORM}
)  # fmt: skip
_UNWILLING = frozenset({Drop.DECLINED, Drop.DISK, Drop.ROLLED_BACK, Drop.SERVER_ROLLED_BACK})
"""What a device decides before it looks at a recording: whoever waits because of it looks at nobody's voice."""


@dataclass(slots=True)
class _Rest:
    kind: Drop
    said: str
    in_a_row: int
    until: float


class Rests:
    """The pauses of one federation's devices, by member."""

    def __init__(
        self,
        first_seconds: float = FIRST_SECONDS,
        most_seconds: float = MOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first, self._most, self._clock = first_seconds, max(first_seconds, most_seconds), clock
        self._rests: dict[int, _Rest] = {}

    def refused(self, member: int, kind: Drop, said: str) -> None:
        """The device answered so, and rests if asking it again soon would be in vain."""
        if kind not in _RESTS_AFTER:
            return
        earlier = self._rests.get(member)
        in_a_row = earlier.in_a_row + 1 if earlier else 1
        pause = min(self._most, self._first * 2.0 ** min(in_a_row - 1, 32))
        self._rests[member] = _Rest(kind, said, in_a_row, self._clock() + pause)

    def over(self, member: int) -> None:
        """The device's update was counted."""
        self._rests.pop(member, None)

    def forget_all_but(self, online: Collection[int]) -> None:
        """Devices that went offline begin anew when they are back: something may have been mended."""
        self._rests = {member: rest for member, rest in self._rests.items() if member in online}

    def why(self, member: int) -> str | None:
        """Why the device is not asked now, in the words that it used last; None if it may be."""
        rest = self._rests.get(member)
        if rest is None or (left := rest.until - self._clock()) <= 0:
            return None
        return f"asked again in {left:.0f} s at the earliest, after it said: {rest.said}"

    def unwilling(self, member: int) -> bool:
        """Whether the device rests because it would not take part, whatever its recordings are."""
        return self.why(member) is not None and self._rests[member].kind in _UNWILLING
