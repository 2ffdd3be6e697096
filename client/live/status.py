"""What a device is doing, told by three processes in a file each and shown as one.

The files are for people and programs that look in. Nothing depends on them, so a full disk does not stop
a round because of them.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared_models.errors import StorageError
from shared_models.files import write_atomically

Note = Callable[..., None]
STALE_SECONDS = 30.0


class Noticeboard:
    """One process's part of the status: fields that it sets, written when they change."""

    def __init__(self, folder: Path, writer: str) -> None:
        self._path = folder / f"{writer}.json"
        self._fields: dict[str, Any] = {}
        # Flower's heartbeats and its parallel transfers report from threads of their own.
        self._lock = threading.Lock()

    def note(self, **fields: Any) -> None:
        """Set fields; None removes one."""
        with self._lock:
            changed = {**self._fields, **fields, "at": time.time()}
            self._fields = {name: value for name, value in changed.items() if value is not None}
            # The next change tries again; whoever looks in sees an older state until then.
            with contextlib.suppress(StorageError, OSError):
                write_atomically(self._path, json.dumps(self._fields))

    @property
    def fields(self) -> dict[str, Any]:
        """Everything that is set now."""
        with self._lock:
            return dict(self._fields)

    def value(self, name: str, default: Any = None) -> Any:
        """What was last set."""
        return self._fields.get(name, default)


def read(folder: Path, writer: str) -> dict[str, Any]:
    """The fields that ``writer`` last wrote; empty if it never did."""
    try:
        content = json.loads((folder / f"{writer}.json").read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def forget(folder: Path, writer: str, kept: tuple[str, ...] = ()) -> None:
    """Drop what a process that is about to start again once wrote, but for its ``kept`` fields."""
    fields = {name: value for name, value in read(folder, writer).items() if name in kept}
    with contextlib.suppress(StorageError, OSError):
        write_atomically(folder / f"{writer}.json", json.dumps(fields))


def merged(
    supervisor: Mapping[str, Any], node: Mapping[str, Any], worker: Mapping[str, Any]
) -> dict[str, Any]:
    """One status of a device from its three processes': the content of ``status.json``."""
    status = {key: value for key, value in {**node, **worker, **supervisor}.items() if key != "at"}
    status["state"] = _state(supervisor, node, worker)
    status["at"] = max(float(part.get("at", 0.0)) for part in (supervisor, node, worker))
    return status


def _state(supervisor: Mapping[str, Any], node: Mapping[str, Any], worker: Mapping[str, Any]) -> str:
    if supervisor.get("state") != "running":
        return str(supervisor.get("state", "stopped"))
    if worker.get("state") == "training":
        return "training"
    if not node.get("contact"):
        return "connecting"
    if time.time() - float(node["contact"]) > STALE_SECONDS:
        return "reconnecting"
    return "paused" if worker.get("paused") else "waiting"
