"""One ``fedvoice`` command as a process of its own, started again at will and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from shared_models.files import storage_problems

_GRACE_SECONDS = 30.0


@dataclass(slots=True)
class CommandProcess:
    """``fedvoice ARGUMENTS``, with a log."""

    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    """What comes before the command, as ``ip netns exec NAME``; it must replace itself by the command."""
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str] | None = None) -> None:
        """Start it, now or again; ``arguments`` replace the former ones from here on."""
        if arguments is not None:
            self.arguments = arguments
        # -P: no module is taken from the folder in which this happened to be started.
        command = [*self.prefix, sys.executable, "-P", "-m", "simulations.cli", *self.arguments]
        with storage_problems(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as out:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **self.environment},
                    # Ctrl-C is for whoever started all this, who then ends them in order.
                    start_new_session=True,
                )
        self.starts += 1

    @property
    def running(self) -> bool:
        """Whether it is there now."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended, if it has; negative is a signal."""
        return None if self._process is None else self._process.poll()

    def tree(self) -> dict[str, int]:
        """Process ids by the module that runs in them; ``command`` is the command itself."""
        if self._process is None or self._process.poll() is not None:
            return {}
        found = {"command": self._process.pid}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    words = child.cmdline()
                    if "-m" in words:
                        found[words[words.index("-m") + 1]] = child.pid
        return found

    def kill(self) -> None:
        """End the command alone, at once; what it started is expected to follow by itself."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        """What Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> list[int]:
        """End it as Ctrl-C does, or else by force; gives the ids of processes that it left behind, now ended."""
        if self._process is None:
            return []
        children = []
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self._process.pid).children(recursive=True)
        self.ask_to_stop()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, left = psutil.wait_procs(children, timeout=10.0)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return [process.pid for process in left]
