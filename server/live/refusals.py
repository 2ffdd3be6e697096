"""What the gate turned away: one JSON line each, and counts for the metrics.

A flood must not fill the disk, so lines are limited in rate and the file in size; counts are always exact.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from server.live.limits import Buckets, Rate
from shared_models.errors import StorageError
from shared_models.files import append_line, storage_problems

_LARGEST_FILE = 32 * 1024 * 1024
_LINES = Rate(per_second=20.0, burst=500.0)


class Refusals:
    """The refusals of one server process."""

    def __init__(self, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        """By kind of reason."""
        self.unwritten = 0
        """Lines left out, because there were too many or the disk was full."""
        self._path = path
        self._lines = Buckets(_LINES)

    def note(self, kind: str, reason: str, *, peer: str, path: str, node: str | None = None) -> None:
        """Count and log one refusal; never fails for want of disk."""
        self.counts[kind] += 1
        if not self._lines.take("all"):
            self.unwritten += 1
            return
        entry = {
            "time": round(time.time(), 3),
            "peer": peer,
            "path": path[:200],
            "node": node,
            "kind": kind,
            "reason": reason,
        }
        try:
            self._rotate()
            append_line(self._path, json.dumps(entry), durable=False)
        except StorageError:
            self.unwritten += 1

    def _rotate(self) -> None:
        with storage_problems(self._path):
            if self._path.exists() and self._path.stat().st_size > _LARGEST_FILE:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
