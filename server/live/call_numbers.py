"""Whether a signed call is a repetition: the numbers of the calls that a server has seen of each device."""

from __future__ import annotations

import heapq

_REMEMBERED = 256
"""Of one device. Its SuperNode has some ten calls under way at once, which may overtake one another."""


class SeenNumbers:
    """Lets each number of a device through once. About 20 KB a device at most, and for enrolled devices only.

    The largest numbers are remembered one by one; whatever is not larger than those forgotten counts as seen. So a
    replay is never taken for new, whatever the device's clock does.
    """

    def __init__(self) -> None:
        self._devices: dict[bytes, _Window] = {}

    def take(self, key: bytes, number: int) -> bool:
        """Whether ``number`` is new for the device with this key; from now on it is not."""
        return self._devices.setdefault(key, _Window()).take(number)


class _Window:
    def __init__(self) -> None:
        self._forgotten = -1
        self._smallest_first: list[int] = []
        self._seen: set[int] = set()

    def take(self, number: int) -> bool:
        if number <= self._forgotten or number in self._seen:
            return False
        self._seen.add(number)
        heapq.heappush(self._smallest_first, number)
        if len(self._seen) > _REMEMBERED:
            self._forgotten = heapq.heappop(self._smallest_first)
            self._seen.remove(self._forgotten)
        return True
