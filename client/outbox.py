"""The last replies of a device: what is asked for again is sent again, and neither trained nor spent again.

A reply is in the outbox before it leaves. A server that crashed and asks for a round a second time, on the same
weights, gets the same bytes; so does a device's own restart in the middle of sending.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_models.files import write_atomically

_ROUNDS_KEPT = 2
"""The newest round and the one before: a server goes back by one checkpoint at most."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One reply: its header and its arrays by name, each ``(shape, dtype, bytes)``."""

    header: dict[str, Any]
    arrays: dict[str, tuple[tuple[int, ...], str, bytes]]


class Outbox:
    """A folder with one folder a reply, named by run, round and the digest of the weights it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, run: str, round_number: int, weights: str) -> Letter | None:
        """The reply to exactly this question, or None. A damaged one counts as none."""
        path = self._path(run, round_number, weights)
        try:
            content = path.read_bytes()
            end = content.index(b"\n")
            described = json.loads(content[:end])
            body = content[end + 1 :]
            if hashlib.sha256(body).hexdigest() != described["sha256"]:
                return None
            arrays, start = {}, 0
            for name, shape, dtype, size in described["arrays"]:
                arrays[name] = (tuple(shape), str(dtype), body[start : start + size])
                start += size
            return Letter(dict(described["header"]), arrays)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, run: str, round_number: int, weights: str, letter: Letter) -> None:
        """Keep a reply, durably, and let go of those of rounds long past. Raises :class:`StorageError`."""
        body = b"".join(content for _, _, content in letter.arrays.values())
        described = {
            "header": letter.header,
            "arrays": [
                [name, list(shape), dtype, len(data)] for name, (shape, dtype, data) in letter.arrays.items()
            ],
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        path = self._path(run, round_number, weights)
        write_atomically(path, json.dumps(described).encode() + b"\n" + body)
        self._forget(path.parent, round_number)

    def _path(self, run: str, round_number: int, weights: str) -> Path:
        # Hashed: a run's name comes from the server and must not name a place on this disk.
        name = hashlib.sha256(run.encode()).hexdigest()[:16]
        return (
            self.folder
            / name
            / f"round-{round_number:08d}-{hashlib.sha256(weights.encode()).hexdigest()[:16]}"
        )

    def _forget(self, run_folder: Path, round_number: int) -> None:
        for other in self.folder.iterdir():
            if other != run_folder:
                shutil.rmtree(other, ignore_errors=True)
        for path in run_folder.glob("round-*"):
            if int(path.name.split("-")[1]) <= round_number - _ROUNDS_KEPT:
                path.unlink(missing_ok=True)
