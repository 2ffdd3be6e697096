"""A router in user space: packets between TUN interfaces, some of them lost, all of them late.

Linux's own ``tc netem`` does the same, where the kernel has it. What passes here are real IP packets of real TCP
connections: the kernels' retransmission and congestion control answer to the loss and the delay.
"""

from __future__ import annotations

import fcntl
import heapq
import ipaddress
import os
import random
import select
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST_PACKET = 65536
_LONGEST_QUEUE = 20_000
"""Packets on their way; more are dropped, as by any router."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How bad the way is, for each packet in each direction."""

    loss: float = 0.01
    delay_seconds: float = 0.05


@dataclass(slots=True)
class Traffic:
    """What the router did."""

    passed: int = 0
    lost: int = 0
    cut: int = 0
    """Dropped because one of both ends was cut off."""


def open_tunnel(name: str) -> int:
    """A TUN interface of this name, as a file descriptor of whole IP packets; it goes when that is closed."""
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(tunnel)
        raise
    return tunnel


@dataclass(slots=True)
class Router:
    """Routes between tunnels by address, in a thread. ``tunnels``: IPv4 address to file descriptor."""

    tunnels: Mapping[str, int]
    quality: Quality
    seed: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    _cut: frozenset[str] = frozenset()
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="router", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and close the tunnels."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(10.0)
        for tunnel in self.tunnels.values():
            os.close(tunnel)

    def cut_off(self, address: str) -> None:
        """Let nothing more through from or to this address."""
        self._cut |= {address}

    def reconnect(self, address: str) -> None:
        """Let it through again."""
        self._cut -= {address}

    def _run(self) -> None:
        by_address = {ipaddress.IPv4Address(a).packed: fd for a, fd in self.tunnels.items()}
        rng, number = random.Random(self.seed), 0
        waiting: list[tuple[float, int, int, bytes]] = []
        while not self._over.is_set():
            pause = 0.2 if not waiting else max(0.0, min(0.2, waiting[0][0] - time.monotonic()))
            ready, _, _ = select.select(list(self.tunnels.values()), [], [], pause)
            for tunnel in ready:
                for packet in _packets(tunnel):
                    target = by_address.get(packet[16:20])
                    if target is None or packet[0] >> 4 != 4 or self._dropped(packet, rng, len(waiting)):
                        continue
                    number += 1
                    due = time.monotonic() + self.quality.delay_seconds
                    heapq.heappush(waiting, (due, number, target, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(waiting)
                self._write(target, packet)

    def _dropped(self, packet: bytes, rng: random.Random, queued: int) -> bool:
        ends = {str(ipaddress.IPv4Address(packet[12:16])), str(ipaddress.IPv4Address(packet[16:20]))}
        if ends & self._cut:
            self.traffic.cut += 1
            return True
        if rng.random() < self.quality.loss or queued >= _LONGEST_QUEUE:
            self.traffic.lost += 1
            return True
        return False

    def _write(self, target: int, packet: bytes) -> None:
        try:
            os.write(target, packet)
            self.traffic.passed += 1
        except OSError:
            # Its interface is down, or its queue is full: TCP sends the packet again.
            self.traffic.lost += 1


def _packets(tunnel: int) -> list[bytes]:
    """What has arrived, at most a few dozen, so that no tunnel waits for another's flood."""
    found: list[bytes] = []
    while len(found) < 64:
        try:
            found.append(os.read(tunnel, _LARGEST_PACKET))
        except OSError:
            break
    return found
