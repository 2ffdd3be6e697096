"""How much a peer may ask of the server, and how large each kind of request may be, before anything is parsed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_KIB, _MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket's size and refill."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The gate's limits. A device polls five times a second and sends its update in objects of 5 MB at most."""

    stranger: Rate = Rate(2.0, 40.0)
    """Requests of a network peer that is not (yet) known to be a device of ours."""
    device: Rate = Rate(50.0, 1000.0)
    """Requests of one enrolled device."""
    enrolment_bytes: int = 16 * _KIB
    call_bytes: int = 64 * _KIB
    """Polls, heartbeats and confirmations."""
    message_bytes: int = 2 * _MIB
    """A reply's description, without the update."""
    object_bytes: int = 6 * _MIB
    """One object of an update: Flower cuts arrays into 5 MiB."""
    operator_bytes: int = 256 * _MIB
    body_seconds: float = 120.0
    """How long a request's body may take to arrive."""
    head_seconds: float = 20.0
    """How long the handshake may take, and how long a connection may be without a whole request's head."""

    def for_fleet(self, call: str) -> int:
        """The largest body of the Fleet API's ``call``."""
        return {"push-object": self.object_bytes, "push-messages": self.message_bytes}.get(
            call, self.call_bytes
        )


class Buckets:
    """Token buckets by peer; those unused for longest are forgotten first, so memory stays bounded."""

    def __init__(
        self, rate: Rate, most_peers: int = 20_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._most = most_peers
        self._clock = clock
        self._buckets: OrderedDict[bytes | str, tuple[float, float]] = OrderedDict()

    def take(self, peer: bytes | str, tokens: float = 1.0) -> bool:
        """Whether the peer may do so much now; if so it is counted."""
        now = self._clock()
        level, at = self._buckets.pop(peer, (self._rate.burst, now))
        level = min(self._rate.burst, level + (now - at) * self._rate.per_second)
        allowed = level >= tokens
        self._buckets[peer] = (level - tokens if allowed else level, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return allowed
