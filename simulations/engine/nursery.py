"""The process that workers are forked from.

It imports torch, Flower and the ClientApp once and does nothing else. Workers forked from it are there at
once, and share the several hundred megabytes that those imports take until someone writes to them. The
server's own process is never forked: it has threads, and perhaps a GPU.

A federation that is over leaves its nursery to the next one of the same process, since the imports take seconds: a
run of several arms needs one. It ends with the server's process at the latest.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path

from simulations.engine.orders import Bear, Born, Failed, Ready, Reap, Reaped, Settings
from simulations.engine.worker import load_client_app, work

_POLL_SECONDS = 0.005
_ERRORS = 2
# SIGINT is for the server's process, which then closes this one; it is ignored before the slow imports.
_COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from simulations.engine.nursery import main; main(int(sys.argv[1]))"
)


# What libraries read of the environment while they are imported; the rest is each worker's own.
_READ_BY_IMPORTS = (
    "CUDA_", "FLWR_", "GOMP_", "KMP_", "LD_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH_",
)  # fmt: skip


class Nursery:
    """The server's end. ``connection`` says :class:`Ready` or :class:`Failed` once, or closes."""

    def __init__(self, client_app: str, environment: Mapping[str, str]) -> None:
        """Start it in ``environment``, which is all of the process's environment."""
        self.imports = _imports(client_app, environment)
        self.ready = False
        """Whether it has said so."""
        self._asked = False
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        finally:
            theirs.close()
        self.connection: Connection = Connection(ours.detach())
        with contextlib.suppress(OSError):
            # If it is gone already, that shows when it is listened to.
            self.connection.send(client_app)

    @property
    def usable(self) -> bool:
        """Whether it waits for an order."""
        return self.ready and not self._asked and self._process.poll() is None

    def bear(self, settings: Settings, environment: Mapping[str, str]) -> tuple[int, Connection, int]:
        """A new worker: its process id, the connection to it, and the lifeline that ends it when closed.

        Raises EOFError or OSError if the nursery is gone.
        """
        ours, theirs = socket.socketpair()
        lifeline_read, lifeline = os.pipe()
        try:
            self._asked = True
            self.connection.send(Bear(settings, dict(environment), str(Path.cwd())))
            for descriptor in (theirs.fileno(), lifeline_read, _ERRORS):
                send_handle(self.connection, descriptor, self._process.pid)
            born = self.connection.recv()
            self._asked = False
        except (EOFError, OSError):
            ours.close()
            os.close(lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline_read)
        assert isinstance(born, Born)
        return born.process, Connection(ours.detach()), lifeline

    def reap(self, process: int, patience: float = 0.0) -> int:
        """Wait for a worker's end, kill it after ``patience`` seconds, and return its exit code.

        As in :mod:`subprocess`, minus a signal's number stands for that signal.
        """
        try:
            self._asked = True
            self.connection.send(Reap(process, patience))
            reaped = self.connection.recv()
            self._asked = False
        except (EOFError, OSError):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            return -signal.SIGKILL
        assert isinstance(reaped, Reaped)
        return reaped.code

    def leave(self) -> None:
        """Leave it to this process's next federation, or end it where it is of no use to that."""
        if self.usable and not _LEFT:
            _LEFT.append(self)
        else:
            self.close()

    def close(self) -> int:
        """End the nursery and return its exit code."""
        self.connection.close()
        try:
            return self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


_LEFT: list[Nursery] = []


def nursery_of(client_app: str, environment: Mapping[str, str]) -> Nursery:
    """The nursery that this process's last federation left, if it imported the same; else a new one."""
    while _LEFT:
        left = _LEFT.pop()
        if left.usable and left.imports == _imports(client_app, environment):
            return left
        left.close()
    return Nursery(client_app, environment)


@atexit.register
def _end() -> None:
    while _LEFT:
        _LEFT.pop().close()


def _imports(client_app: str, environment: Mapping[str, str]) -> tuple[object, ...]:
    """What decides what a nursery has in memory once it is ready."""
    read = sorted(item for item in environment.items() if item[0].startswith(_READ_BY_IMPORTS))
    return client_app, tuple(read)


def main(descriptor: int) -> None:
    """Be the nursery of the process at the other end of the socket, until that is gone."""
    # What a client prints must not mix with figures that a command prints.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    connection: Connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        client_app: str = connection.recv()
        try:
            app = load_client_app(client_app)
        except Exception:
            connection.send(Failed(traceback.format_exc()))
            return
        # A collection would write to every object, and so unshare the memory of all of them.
        gc.collect()
        gc.freeze()
        connection.send(Ready())
        while True:
            order = connection.recv()
            if isinstance(order, Reap):
                connection.send(Reaped(_reap(order.process, order.patience)))
                continue
            socket_of_worker, lifeline, printed = (recv_handle(connection) for _ in range(3))
            process = os.fork()
            if not process:
                connection.close()
                _surround(order, printed)
                work(socket_of_worker, lifeline, app, order.settings)
            for descriptor_of_worker in (socket_of_worker, lifeline, printed):
                os.close(descriptor_of_worker)
            connection.send(Born(process))


def _reap(process: int, patience: float) -> int:
    deadline = time.monotonic() + patience
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _surround(order: Bear, printed: int) -> None:
    """In the worker: the surroundings of the federation that it is for."""
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.folder)
    # What a client prints must not mix with figures that a command prints.
    for descriptor in (1, _ERRORS):
        os.dup2(printed, descriptor)
    os.close(printed)


def environment_of(threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """All of the environment of workers of so many threads, with ``environment`` beside this process's own."""
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    ours = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONPATH": path}
    return {**os.environ, **ours, **environment}
