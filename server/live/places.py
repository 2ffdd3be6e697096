"""What became of a federation's places: never taken, taken by a device that is there or is not, or given up.

The population is fixed and public, and cohorts are drawn over all of it; a place that nobody took is drawn like
any other and delivers nothing, so an operator who sees few updates looks here first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from server.live.registry import Registered

NEVER_JOINED, OFFLINE, ONLINE = "never joined", "offline", "online"
STATES = (ONLINE, OFFLINE, NEVER_JOINED, "left", "revoked")
HEARD_SECONDS = 40.0
"""The registry's moments are written every 15 s, and a device with nothing to do asks every 3 s."""


def places(
    population: int,
    devices: Iterable[Registered],
    heard: Mapping[bytes, float] | None = None,
    now: float | None = None,
) -> dict[str, int]:
    """How many of ``population`` places are in each of :data:`STATES`.

    ``heard`` is when each key last asked for something (Unix time), where that is known better than the
    registry knows it.
    """
    moment, known = time.time() if now is None else now, list(devices)
    counts: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    for device in known:
        last = max(device.last_seen, (heard or {}).get(device.public_key, 0.0))
        there = ONLINE if moment - last < HEARD_SECONDS else OFFLINE
        counts[there if device.state == "active" else device.state] += 1
    counts[NEVER_JOINED] = max(0, population - len(known))
    return dict(counts)
