"""The device's SuperNode: ``python -m client.live.supernode HOME PORT``, a child of ``fedvoice join``."""

from __future__ import annotations

import os

# Flower reports usage and looks for updates unless told otherwise, and reads both when it is imported.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import contextlib
import json
import logging
import sys
import threading
import time
from pathlib import Path

from client.live.enrolment import clock_problem
from client.live.flower_node import DEVICE_REFUSED, SuperNodeHooks, run_supernode
from client.live.home import Membership, superexec_secret, this_computer
from client.live.inbox import Inbox
from client.live.keys import DeviceKey
from client.live.pace import Pace
from client.live.restraint import Restraint
from client.live.status import Noticeboard, read
from shared_models.errors import StorageError
from shared_models.files import write_atomically
from shared_models.private_files import private_from_now_on
from shared_models.supervision import die_with_parent

_CONTACT_SECONDS = 5.0
_LOCAL_PAUSE = 0.05
"""While the worker trains, its reply is looked for in this process's own memory, which costs next to nothing."""


class DeviceWatcher:
    """Tells the status what passes to and from the server, and sets the pace of asking."""

    def __init__(self, home: Path, pace: Pace) -> None:
        folder = home / "live"
        self._home, self._board, self._pace = home, Noticeboard(folder, "supernode"), pace
        earlier = read(folder, "supernode")
        self._received, self._sent = int(earlier.get("received", 0)), int(earlier.get("sent", 0))
        self._contact = 0.0
        # Parts of a message are transferred by several threads at once.
        self._lock = threading.Lock()

    def connected(self, node_id: int) -> None:
        """The server knows this node now."""
        with contextlib.suppress(StorageError):
            mark_online(self._home, node_id)
        self._note(contact=time.time(), node=node_id, problem=None)

    def polled(self, found: bool) -> None:
        """The server was asked for a message, and had one or not."""
        if found:
            self._pace.happened()
            if self._board.value("finished") is not None:
                self._note(finished=None, published=None)
        news = self._board.value("sent") != self._sent or self._board.value("problem")
        if news or time.time() - self._contact > _CONTACT_SECONDS:
            self._contact = time.time()
            self._note(contact=self._contact, problem=None)

    def received(self, size: int) -> None:
        """So many bytes of weights arrived."""
        with self._lock:
            self._received += size

    def sent(self, size: int) -> None:
        """So many bytes of an update left."""
        with self._lock:
            self._sent += size

    def finished(self, last_round: int, published: bool) -> None:
        """The federation is over: the supervisor ends this device for now, and says so."""
        if self._board.value("finished") != last_round or self._board.value("published") != published:
            self._note(finished=last_round, published=published)

    def refused(self, status: int, text: str, date: str) -> None:
        """The server answered with an error; what the owner can do about it goes into the status."""
        self._note(problem=_in_words(status, text, date))

    def _note(self, **fields: object) -> None:
        self._board.note(received=self._received, sent=self._sent, **fields)


def mark_online(home: Path, node_id: int) -> None:
    """Note that this home, on this computer, is online as ``node_id``. Removed when it signs off."""
    content = {"node": node_id, "computer": this_computer(home)}
    write_atomically(home / "live" / "online.json", json.dumps(content))


def died_online(home: Path) -> int | None:
    """The node id under which this very home was online and never signed off, or None.

    A home that was copied to another computer, or to another folder, was not: Flower then refuses its key
    while the first one is online, and rightly.
    """
    try:
        content = json.loads((home / "live" / "online.json").read_text())
        return int(content["node"]) if content["computer"] == this_computer(home) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main(home: Path, port: int) -> int:
    """Run the SuperNode until a signal ends it; returns the exit code."""
    membership, key = Membership.load(home), DeviceKey.load(home)
    pace = Pace(least=0.2, most=3.0)
    hooks = SuperNodeHooks(
        journal=Inbox(home / "live" / "inbox.json"),
        watcher=DeviceWatcher(home, pace),
        pause=lambda wished: time.sleep(pace.next_pause() if wished > 1 else _LOCAL_PAUSE),
        sign=lambda call: key.prove(b"", call),
        known_node=died_online(home),
        restraint=Restraint(home / "policy.toml"),
    )
    arguments = [
        "--superlink", membership.server,
        "--root-certificates", str(home / "ca.pem"),
        "--auth-supernode-private-key", str(home / "node.key"),
        "--isolation", "process",
        "--superexec-auth-secret-file", str(superexec_secret(home)),
        "--host", "127.0.0.1",
        "--port", str(port),
        "--node-config", f'device="{home.resolve()}" partition-id={membership.member}',
    ]  # fmt: skip
    try:
        run_supernode(arguments, hooks)
    except SystemExit as end:
        if end.code == DEVICE_REFUSED:
            return DEVICE_REFUSED
        if end.code == 0:
            # Signed off: from now on a node of this key that is online is somebody else.
            (home / "live" / "online.json").unlink(missing_ok=True)
        return end.code if isinstance(end.code, int) else 1
    except StorageError as error:
        Noticeboard(home / "live", "supernode").note(problem=str(error))
    return 1


def _in_words(status: int, text: str, date: str) -> str:
    if status == 401:
        return clock_problem(date) or (
            "the server does not accept this device's key: it was not enrolled there, or was removed; ask the operator"
        )
    try:
        said = json.loads(text)
        reason = str(said.get("error") or said.get("detail") or text)
    except (ValueError, AttributeError):
        reason = text or "no reason given"
    return f"the server refused this device ({status}): {' '.join(reason.split())[:300]}"


if __name__ == "__main__":
    die_with_parent()
    private_from_now_on()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    code = main(Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Flower's web server has a thread that would keep a process alive which has nothing more to do.
    os._exit(code)
