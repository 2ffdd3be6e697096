"""Keeping child processes alive, and never leaving one behind.

A live server and a live device are each a supervisor with two children. A child writes to a log file of its
own, runs in a process group of its own, is started again with growing pauses when it ends, and ends when its
supervisor does, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared_models.files import storage_problems
from shared_models.private_files import private_folder, private_opener

PARENT_VARIABLE = "FEDVOICE_PARENT"
_PR_SET_PDEATHSIG = 1
_LARGEST_LOG = 16 * 1024 * 1024
_WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before starting again what ended: doubling, with jitter, and forgotten after a good spell."""

    first_seconds: float = 0.5
    most_seconds: float = 60.0
    well_after_seconds: float = 30.0
    """A child that ran for so long had started well: its next failure counts as the first."""

    def pause(self, failures: int, rng: random.Random | None = None) -> float:
        """Seconds before the next start after ``failures`` (>= 1) in a row; half of it is chance.

        Jitter keeps a thousand devices from coming back in the same instant after their server was away.
        """
        full = min(self.most_seconds, self.first_seconds * 2.0 ** min(failures - 1, 32))
        return full * (0.5 + 0.5 * (rng or random.Random()).random())


@dataclass(slots=True)
class Child:
    """One supervised process. One thread calls its methods, and must live on: Linux ties the child's life to it."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    back_off: BackOff = field(default_factory=BackOff)
    restarts: int = 0
    """Starts after the first one."""
    failures: int = 0
    """Ends in a row without a good spell between."""
    exit_code: int | None = None
    """How it last ended; negative is a signal."""
    _process: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _start_again_at: float = 0.0

    @property
    def pid(self) -> int | None:
        """The running process's id, or None."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the process is there now."""
        return self._process is not None and self._process.poll() is None

    @property
    def waits_seconds(self) -> float:
        """How long until it is started again; 0 if it is running or due."""
        return 0.0 if self.running else max(0.0, self._start_again_at - time.monotonic())

    def start(self) -> None:
        """Start it now. Raises :class:`StorageError` where its log cannot be written."""
        if self.running:
            return
        if self._process is not None:
            self.restarts += 1
        with storage_problems(self.log):
            private_folder(self.log.parent)
            _rotate(self.log)
            with open(self.log, "ab", opener=private_opener) as out:
                self._process = subprocess.Popen(
                    list(self.command),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.environment, PARENT_VARIABLE: str(os.getpid())},
                    start_new_session=True,
                )
        self.exit_code = None
        self._started_at = time.monotonic()

    def tend(self) -> bool:
        """Reap it if it has ended and start it again when that is due; True if it was (re)started just now."""
        if self.running:
            return False
        if self._process is None:
            self.start()
            return True
        if self.exit_code is None:
            self._note_end()
        if time.monotonic() < self._start_again_at:
            return False
        self.start()
        return True

    def ended(self) -> int | None:
        """The exit code once the process has ended (reaping it), else None."""
        if self._process is None or self.running:
            return None
        if self.exit_code is None:
            self._note_end()
        return self.exit_code

    def stop(self, grace_seconds: float = 10.0) -> None:
        """End it and everything that it started: SIGTERM, then SIGKILL after ``grace_seconds``."""
        if self._process is None or self.exit_code is not None:
            return
        _signal_group(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        self.kill()

    def kill(self) -> None:
        """End it and everything that it started at once."""
        # Once its end was noted, its id may be another's.
        if self._process is None or self.exit_code is not None:
            return
        _signal_group(self._process.pid, _KILL)
        self._process.wait()
        self.exit_code = self._process.returncode

    def _note_end(self) -> None:
        assert self._process is not None
        self.exit_code = self._process.returncode
        # What it started must not outlive it, e.g. a task's process that holds the same port or files.
        _signal_group(self._process.pid, _KILL)
        ran = time.monotonic() - self._started_at
        self.failures = 1 if ran >= self.back_off.well_after_seconds else self.failures + 1
        self._start_again_at = time.monotonic() + self.back_off.pause(self.failures)


def die_with_parent(on_orphaned: Callable[[], None] | None = None) -> None:
    """Called by a child as its first act: its end follows its supervisor's, even one by SIGKILL.

    Linux delivers a signal when the parent dies; elsewhere (and as a second net, since that signal is tied
    to the thread that forked) a thread looks for the parent every second. ``on_orphaned`` replaces the
    immediate exit of that thread. Does nothing in a process that :class:`Child` did not start.
    """
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is None:
        return
    parent = int(expected)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(_KILL), 0, 0, 0)
    leave = on_orphaned or (lambda: os._exit(1))
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        leave()
        return
    threading.Thread(target=_watch_parent, args=(parent, leave), name="parent watch", daemon=True).start()


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The end of a child's log, for the sentence that says why it failed; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


# Windows has no SIGKILL; there Popen's own kill is the same as its terminate.
_KILL: signal.Signals = getattr(signal, "SIGKILL", signal.SIGTERM)


def _watch_parent(parent: int, leave: Callable[[], None]) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    leave()


def _signal_group(group: int, what: signal.Signals) -> None:
    # The child leads its own session, so its process group has its id even after it has ended.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            os.kill(group, what)
        else:
            os.killpg(group, what)


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_name(log.name + ".1"))
