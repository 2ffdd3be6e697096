"""The replies of a device: a question that is asked again gets the same reply, and nothing is trained or spent again.

A reply is in the outbox before it leaves. A server that crashed and asks the same question again gets the same bytes,
and so does one whose device restarted while it sent. No run displaces the replies of another. The folder's size has a
bound, and the oldest replies are deleted to keep it. A question whose reply was deleted is declined
(:mod:`client.rounds.live_round`), and never trained a second time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_models.files import storage_problems, write_atomically

_NAME = re.compile(r"^round-\d+-([0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class Letter:
    """One reply: its header and its arrays by name, each ``(shape, dtype, bytes)``."""

    header: dict[str, Any]
    arrays: dict[str, tuple[tuple[int, ...], str, bytes]]


class Outbox:
    """A folder with one folder a run, and in it a file a reply, named by its round and its question's digest.

    ``megabytes`` bounds all letters together; the newest is kept however large it is.
    """

    def __init__(self, folder: Path, megabytes: float | None = None) -> None:
        self.folder = folder
        self._bytes = None if megabytes is None else int(megabytes * 1e6)

    def find(self, run: str, round_number: int, question: str) -> Letter | None:
        """The reply to exactly this question, or None. A damaged one counts as none."""
        path = self._path(run, round_number, question)
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

    def put(self, run: str, round_number: int, question: str, letter: Letter) -> None:
        """Keep a reply, durably, and let go of the oldest beyond the bound. Raises :class:`StorageError`."""
        body = b"".join(content for _, _, content in letter.arrays.values())
        described = {
            "header": letter.header,
            "arrays": [
                [name, list(shape), dtype, len(data)] for name, (shape, dtype, data) in letter.arrays.items()
            ],
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        path = self._path(run, round_number, question)
        write_atomically(path, json.dumps(described).encode() + b"\n" + body)
        self._let_go(path)

    def questions(self) -> list[str]:
        """The digests of all questions to which a reply is kept, damaged or not."""
        return [match[1] for path in self._letters() if (match := _NAME.match(path.name))]

    def _path(self, run: str, round_number: int, question: str) -> Path:
        # Hashed: a run's name comes from the server and must not name a place on this disk.
        name = hashlib.sha256(run.encode()).hexdigest()[:32]
        return self.folder / name / f"round-{round_number:08d}-{hashed(question)}"

    def _letters(self) -> Iterator[Path]:
        # Also those of earlier versions, which nobody can ask for any more and the bound will remove.
        return self.folder.glob("*/round-*")

    def _let_go(self, newest: Path) -> None:
        if self._bytes is None:
            return
        with storage_problems(self.folder):
            found = [
                (path.stat().st_mtime_ns, path.name, path, path.stat().st_size) for path in self._letters()
            ]
            total = sum(size for *_, size in found)
            for _, _, path, size in sorted(found):
                if total <= self._bytes:
                    return
                if path != newest:
                    path.unlink(missing_ok=True)
                    total -= size


def hashed(question: str) -> str:
    """A question's digest as it stands in a file's name; anything else is hashed, and so names no place either."""
    return (
        question if re.fullmatch(r"[0-9a-f]{64}", question) else hashlib.sha256(question.encode()).hexdigest()
    )
