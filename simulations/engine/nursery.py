"""The process that workers are forked from.

It imports torch, Flower and the ClientApp once and does nothing else. Workers forked from it are there at
once, and share the several hundred megabytes that those imports take until someone writes to them. The
server's own process is never forked: it has threads, and perhaps a GPU.
"""

from __future__ import annotations

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
# SIGINT is for the server's process, which then closes this one; it is ignored before the slow imports.
_COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from simulations.engine.nursery import main; main(int(sys.argv[1]))"
)


class Nursery:
    """The server's end. ``connection`` says :class:`Ready` or :class:`Failed` once, or closes."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=_environment(settings.threads, environment),
            )
        finally:
            theirs.close()
        self.connection: Connection = Connection(ours.detach())
        with contextlib.suppress(OSError):
            # If it is gone already, that shows when it is listened to.
            self.connection.send(settings)

    def bear(self) -> tuple[int, Connection, int]:
        """A new worker: its process id, the connection to it, and the lifeline that ends it when closed.

        Raises EOFError or OSError if the nursery is gone.
        """
        ours, theirs = socket.socketpair()
        lifeline_read, lifeline = os.pipe()
        try:
            self.connection.send(Bear())
            for descriptor in (theirs.fileno(), lifeline_read):
                send_handle(self.connection, descriptor, self._process.pid)
            born = self.connection.recv()
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
            self.connection.send(Reap(process, patience))
            reaped = self.connection.recv()
        except (EOFError, OSError):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            return -signal.SIGKILL
        assert isinstance(reaped, Reaped)
        return reaped.code

    def close(self) -> int:
        """End the nursery and return its exit code."""
        self.connection.close()
        try:
            return self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def main(descriptor: int) -> None:
    """Be the nursery of the process at the other end of the socket, until that is gone."""
    # What a client prints must not mix with figures that a command prints.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    connection: Connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        settings: Settings = connection.recv()
        try:
            app = load_client_app(settings.client_app)
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
            socket_of_worker, lifeline = recv_handle(connection), recv_handle(connection)
            process = os.fork()
            if not process:
                connection.close()
                work(socket_of_worker, lifeline, app, settings)
            os.close(socket_of_worker)
            os.close(lifeline)
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


def _environment(threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    ours = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONPATH": path}
    return {**os.environ, **ours, **environment}
