"""Killing processes of a live federation at random moments, by SIGKILL, which nothing can prepare for."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from simulations.rehearsal.command_process import CommandProcess
from simulations.rehearsal.live_federation import LiveFederation

_LONGEST_WAIT = 3.0
_SERVER = ("command", "server.live.superlink", "server.live.federation")
_DEVICE = ("command", "client.live.supernode", "client.live.worker")


@dataclass(slots=True)
class RandomKills:
    """So many kills spread over a run's rounds; call it often while the run is watched.

    What supervises itself is left to recover by itself. A killed ``fedvoice serve`` or ``fedvoice join`` is
    started again at once, as an init system would.
    """

    federation: LiveFederation
    count: int
    seed: int = 0
    on_kill: Callable[[str], None] | None = None
    done: list[str] = field(default_factory=list)
    """Who was killed, in order."""
    _rng: random.Random = field(default_factory=random.Random)
    _due: float = 0.0

    def __post_init__(self) -> None:
        self._rng.seed(self.seed)

    def __call__(self) -> None:
        """Start again what ended, and kill if it is time to."""
        standing = self.federation.standing()
        if standing.state == "done" or standing.round >= standing.rounds > 0:
            return
        self._revive()
        # The kills are spread over the rounds, whatever these take.
        planned = self.count * (standing.round + 1) / max(1, standing.rounds)
        if len(self.done) >= min(self.count, round(planned)) or time.monotonic() < self._due:
            return
        self._kill_one()
        self._due = time.monotonic() + self._rng.random() * _LONGEST_WAIT

    def _revive(self) -> None:
        for process in [self.federation.server, *self.federation.devices]:
            if process.exit_code == -signal.SIGKILL:
                process.start()

    def _kill_one(self) -> None:
        number = self._rng.randrange(-1, len(self.federation.devices))
        process, kinds = self.federation.server, _SERVER
        if number >= 0:
            process, kinds = self.federation.devices[number], _DEVICE
        kind = self._rng.choice(kinds)
        # One that is being started just now is not there to be killed; the next look tries another.
        if _killed(process, kind):
            where = "server" if number < 0 else f"device {number}"
            self.done.append(f"{where}: {kind.removeprefix('server.live.').removeprefix('client.live.')}")
            if self.on_kill is not None:
                self.on_kill(self.done[-1])


def _killed(process: CommandProcess, kind: str) -> bool:
    if kind == "command":
        there = process.running
        process.kill()
        return there
    pid = process.tree().get(kind)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
