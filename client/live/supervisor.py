"""What ``fedvoice join`` does once the device is a member: it keeps its SuperNode and its worker running.

The two are started and stopped together. If the worker crashes, its SuperNode waits for a reply that will not come. If
the SuperNode crashes, the task of its worker is lost with it. The message that was being answered is in the inbox, and
the next pair answers it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.live import status
from client.live.flower_node import DEVICE_REFUSED
from client.live.holding import only_one
from client.live.home import Membership, superexec_secret
from shared_models.disk import room, shortage
from shared_models.errors import StorageError
from shared_models.files import storage_problems, write_atomically
from shared_models.private_files import shut_home
from shared_models.supervision import BackOff, Child, last_lines

_LOOK_SECONDS = 0.2
_SHOW_SECONDS = 1.0
_LEAST_FREE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finished:
    """The federation's end, as its server told it."""

    federation: str
    last_round: int
    published: bool
    """Whether there is a model to fetch."""


def supervise(
    home: Path,
    stop: threading.Event,
    on_status: Callable[[Mapping[str, Any]], None] | None = None,
    *,
    stay: bool = False,
) -> Finished | None:
    """Run the device of ``home`` until ``stop`` is set, or the server says that the federation is over.

    Nothing that it started is left behind. Gives the end that the server told of, if that is why; with ``stay`` the
    device stays, for a federation that its operator may prolong. Raises :class:`EnrolmentError` where it has not
    joined, and :class:`ServiceError` if it already runs.
    """
    membership = Membership.load(home)
    with only_one(home):
        with storage_problems(home):
            shut_home(home)
        pair = _Pair(home, membership)
        shown, finished = 0.0, None
        try:
            while not stop.is_set() and finished is None:
                pair.tend()
                if time.monotonic() - shown >= _SHOW_SECONDS:
                    shown = time.monotonic()
                    _publish(home, pair.board, on_status)
                    finished = None if stay else _finished(home, membership)
                stop.wait(_LOOK_SECONDS)
        finally:
            pair.stop("stopped" if finished is None else "finished")
            _publish(home, pair.board, on_status)
    return finished


class _Pair:
    """SuperNode and worker of one device."""

    def __init__(self, home: Path, membership: Membership) -> None:
        self._home = home
        superexec_secret(home)
        self.board = status.Noticeboard(home / "live", "supervisor")
        self.board.note(
            state="starting", server=membership.server, federation=membership.federation,
            member=membership.member, name=membership.name, home=str(home),
        )  # fmt: skip
        logs = home / "logs"
        self._node = Child("supernode", [], logs / "supernode.log", back_off=BackOff(1.0, 60.0, 30.0))
        # One thread, set before numpy and torch are loaded; the recipe and the policy say how many they use.
        self._worker = Child(
            "worker", [], logs / "worker.log", {"OMP_NUM_THREADS": "1"}, BackOff(0.5, 60.0, 30.0)
        )
        self._begun = False
        self._starts = 0
        self._forget()

    def tend(self) -> None:
        """Start what is to run, and start both again if either ended."""
        if self._begun:
            ended = [(c, code) for c in (self._node, self._worker) if (code := c.ended()) is not None]
            if ended:
                self._broke(*ended[0])
            return
        if max(self._node.waits_seconds, self._worker.waits_seconds) > 0:
            return
        if full := shortage(self._home, _LEAST_FREE_BYTES):
            self.board.note(state="waiting for disk", problem=full)
            return
        try:
            self._begin()
        except StorageError as error:
            self.board.note(state="waiting for disk", problem=str(error))

    def stop(self, state: str) -> None:
        """End both: the worker at once, the SuperNode after it has signed off."""
        self.board.note(state="stopping")
        self._worker.kill()
        self._node.stop(grace_seconds=10.0)
        self.board.note(state=state, pids=None)

    def _begin(self) -> None:
        self._forget()
        # A port that is taken in between ends the SuperNode, and the next start asks for another.
        port = _free_port()
        self._node.command = _python("client.live.supernode", self._home, port)
        self._worker.command = _python("client.live.worker", self._home, port)
        self._node.start()
        self._worker.start()
        self._begun = True
        self._starts += 1
        self.board.note(
            state="running", problem=None, restarts=self._starts - 1,
            pids={"supernode": self._node.pid, "worker": self._worker.pid},
        )  # fmt: skip

    def _forget(self) -> None:
        """What the two said before their end is over."""
        status.forget(self._home / "live", "worker")
        status.forget(self._home / "live", "supernode", kept=("received", "sent"))

    def _broke(self, child: Child, code: int) -> None:
        # Not asked to sign off: the server would take the device for gone, and drop the round in hand.
        self._worker.kill()
        self._node.kill()
        self._begun = False
        # Notes both ends, so that the pause before the next start is counted from here.
        self._node.ended()
        self._worker.ended()
        refused = child is self._node and code == DEVICE_REFUSED
        said = status.read(self._home / "live", "supernode").get("problem")
        reason = said or (last_lines(child.log, 1) or ["no reason given"])[0][:300]
        self.board.note(
            state="refused" if refused else "restarting",
            problem=reason
            if child is self._node and (said or code > 0)
            else f"the {child.name} ended ({code}) and is started again",
            pids=None,
        )


def _finished(home: Path, membership: Membership) -> Finished | None:
    node = status.read(home / "live", "supernode")
    if not isinstance(last := node.get("finished"), int):
        return None
    return Finished(membership.federation, last, bool(node.get("published")))


def _publish(
    home: Path, board: status.Noticeboard, on_status: Callable[[Mapping[str, Any]], None] | None
) -> None:
    folder = home / "live"
    # Its own part as it is, and not as it was when there was last room on the disk.
    content = status.merged(board.fields, status.read(folder, "supernode"), status.read(folder, "worker"))
    try:
        write_atomically(home / "status.json", json.dumps(content, indent=1))
    except StorageError:
        content["problem"] = _full(home)
    if on_status is not None:
        # Whoever draws may draw to a file on the same full disk.
        with contextlib.suppress(OSError):
            on_status(content)


def _full(home: Path) -> str:
    return (
        f"the disk that holds {home} is full ({room(home)}): free some space there, and the device goes on by "
        "itself; nothing was lost"
    )


def _python(module: str, home: Path, port: int) -> list[str]:
    # -P: no module is taken from the folder in which the command happened to be started.
    return [sys.executable, "-P", "-m", module, str(home.resolve()), str(port)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
