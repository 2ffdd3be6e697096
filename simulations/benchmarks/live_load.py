"""What one server holds: so many devices, how many requests a second, and memory over the cohort's size.

The devices run in this process, on the same cores as the server, and each request is as expensive for whoever asks
as a SuperNode's less the signature: the figures are those of a server that shares its machine.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from client.home.policy import Policy
from server.live.setup import invite
from shared_models.errors import ServiceError
from shared_models.files import write_atomically
from simulations.benchmarks.live_fleet import Counts, FleetDevice
from simulations.rehearsal.live_federation import LiveFederation

_ENROL_AT_ONCE = 16
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Load:
    """The figures for one number of devices."""

    devices: int
    idle_requests_a_second: float
    idle_median_ms: float
    idle_p95_ms: float
    idle_memory: int
    """Bytes of SuperLink and federation process together, resident."""
    round_seconds: list[float]
    round_requests_a_second: float
    round_memory_superlink: int
    """The peak while rounds ran."""
    round_memory_federation: int
    failures: int
    """Answers of 429 or 500 and above, after which the request was made again."""


def measure_load(
    folder: Path,
    devices: int,
    rounds: int,
    idle_seconds: float,
    poll_seconds: float,
    serve_options: list[str],
    tell: Callable[[str], None],
) -> Load:
    """A server of its own with so many devices: idle for a while, then some rounds with all of them."""
    options = [*serve_options, "--population", str(devices), "--base", "random", "--force"]
    # Rounds begin when one more has joined, after the idle time.
    for name, value in (("rounds", rounds), ("cohort", devices), ("quorum", devices)):
        options += ["--set", f"federation.{name}={value}"]
    live = LiveFederation(folder, options, [], Policy())
    with live:
        tell(f"{devices} devices: starting the server")
        _raise_limits(live)
        live.serve()
        return asyncio.run(_run(live, devices, rounds, idle_seconds, poll_seconds, tell))


async def _run(
    live: LiveFederation,
    devices: int,
    rounds: int,
    idle_seconds: float,
    poll_seconds: float,
    tell: Callable[[str], None],
) -> Load:
    counts, over = Counts(), asyncio.Event()
    trust = ssl.create_default_context(cafile=str(live.home.path("ca.pem")))
    codes = invite(live.home, devices, 7200.0)
    fleet = [FleetDevice(code, trust, counts) for code in codes]
    tell(f"{devices} devices: enrolling")
    for start in range(0, devices, _ENROL_AT_ONCE):
        await asyncio.gather(*(device.enrol() for device in fleet[start : start + _ENROL_AT_ONCE]))
    # All but one are online: the quorum is not reached, and nothing happens but polls.
    tasks = [asyncio.create_task(device.live(poll_seconds, over)) for device in fleet[:-1]]
    await asyncio.sleep(2 * poll_seconds + devices / 50)
    _check(tasks)
    before, counts.seconds = counts.requests, []
    tell(f"{devices} devices: idle for {idle_seconds:.0f} s")
    await asyncio.sleep(idle_seconds)
    idle = (counts.requests - before) / idle_seconds
    slow = sorted(counts.seconds)
    memory = _Memory(live)
    idle_memory = sum(memory.now().values())
    tell(f"{devices} devices: {rounds} rounds")
    before, started, counts.seconds = counts.requests, time.monotonic(), []
    with memory:
        tasks.append(asyncio.create_task(fleet[-1].live(poll_seconds, over)))
        while live.standing().state != "done":
            _check(tasks)
            if not live.server.running and live.standing().state != "done":
                raise ServiceError(f"the server ended with {live.server.exit_code}: see {live.server.log}")
            await asyncio.sleep(_LOOK_SECONDS)
    busy = (counts.requests - before) / (time.monotonic() - started)
    over.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Load(
        devices, round(idle, 1), round(1000 * statistics.median(slow), 1),
        round(1000 * slow[int(0.95 * (len(slow) - 1))], 1), idle_memory,
        [round(float(line["seconds"]), 2) for line in live.rounds()], round(busy, 1),
        memory.peak.get("server.live.superlink", 0), memory.peak.get("server.live.federation", 0), counts.failures,
    )  # fmt: skip


def _check(tasks: list[asyncio.Task[None]]) -> None:
    """A device that failed ends the measurement, with its reason."""
    for task in tasks:
        if task.done():
            task.result()


def _raise_limits(live: LiveFederation) -> None:
    """All devices share one address, so the limit on strangers would stop them from enrolling."""
    write_atomically(live.home.path("gate.json"), json.dumps({"stranger_burst": 1e6}))


class _Memory:
    """The largest resident memory of the server's processes, by module, while it is used as a context."""

    def __init__(self, live: LiveFederation) -> None:
        self.peak: dict[str, int] = {}
        self._live = live
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> dict[str, int]:
        """Bytes by module."""
        found = {}
        for name, pid in self._live.server.tree().items():
            if name.startswith("server.live."):
                try:
                    found[name] = int(psutil.Process(pid).memory_info().rss)
                except psutil.Error:
                    continue
        return found

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            for name, size in self.now().items():
                self.peak[name] = max(size, self.peak.get(name, 0))


def as_json(loads: list[Load]) -> list[dict[str, object]]:
    """Plain data."""
    return [asdict(load) for load in loads]
