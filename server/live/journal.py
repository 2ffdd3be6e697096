"""What the server tells its operator of the rounds: a line a round, and one file with the present state.

Both hold counts, times and epsilon. Nothing in them depends on anyone's voice.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared_models.errors import StorageError
from shared_models.files import append_line, write_atomically


@dataclass(slots=True)
class Standing:
    """Where the federation stands, for status lines and metrics."""

    state: str = "starting"
    """``starting``, ``waiting`` for devices, ``training``, ``done``, or ``stopped`` with ``problem``."""
    round: int = 0
    """The last finished round."""
    rounds: int = 0
    asked: int = 0
    """Devices asked in the round that is going on."""
    answered: int = 0
    epsilon: float | None = None
    """Spent so far; None without privacy, and before the first round."""
    protection: str = ""
    """The privacy mode, or ``unprotected``."""
    problem: str = ""
    accepted: int = 0
    """Updates added up since the first round."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Others, by kind (:class:`server.validation.Drop`), since the first round."""
    grouped: dict[str, dict[str, int]] = field(default_factory=dict)
    """Who was left out of the last round, or of the last attempt at one: kind, what was said, how many."""
    resent: int = 0
    """Messages sent again, because their device had restarted or the SuperLink had lost them."""
    round_seconds: float = 0.0
    """How long the last round took."""
    updated_at: float = 0.0


class Journal:
    """Writes ``rounds.jsonl`` and ``status.json`` of a home."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self._rounds = folder / "rounds.jsonl"
        self._status = folder / "status.json"
        self.standing = Standing(rounds=rounds)
        dropped: Counter[str] = Counter()
        for line in read_rounds(folder):
            self.standing.round = max(self.standing.round, int(line["round"]))
            self.standing.accepted += int(line["clients"])
            self.standing.epsilon = line.get("epsilon")
            self.standing.round_seconds = float(line.get("seconds", 0.0))
            dropped.update(line.get("kinds", {}))
            self.standing.grouped = line.get("grouped", {})
        self.standing.dropped = dict(dropped)

    def note(self, **changes: Any) -> None:
        """Change the present state. A full disk is no reason to stop here: the next write tells again."""
        for name, value in changes.items():
            setattr(self.standing, name, value)
        self.standing.updated_at = time.time()
        try:
            write_atomically(self._status, json.dumps(asdict(self.standing)))
        except StorageError:
            return

    def round_done(self, report: Mapping[str, Any]) -> None:
        """Add a finished round. Raises :class:`StorageError` on a full disk, before the round's checkpoint."""
        append_line(self._rounds, json.dumps({**report, "time": round(time.time(), 3)}))
        # A process that goes on is told of the last round once more, and counted it when it read the file.
        new = report["round"] > self.standing.round
        dropped = Counter(self.standing.dropped)
        dropped.update(report["kinds"] if new else {})
        # What held the round up is over with it.
        self.note(
            state="training",
            problem="",
            grouped=report["grouped"],
            round=report["round"],
            accepted=self.standing.accepted + (int(report["clients"]) if new else 0),
            dropped=dict(dropped),
            epsilon=report["epsilon"],
            round_seconds=report["seconds"],
            asked=0,
            answered=0,
        )


def read_rounds(folder: Path) -> list[dict[str, Any]]:
    """The finished rounds in order; of a round that ran twice (a crash before its checkpoint), the last."""
    try:
        lines = (folder / "rounds.jsonl").read_text().splitlines()
    except OSError:
        return []
    rounds: dict[int, dict[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            rounds[int(entry["round"])] = entry
        except (ValueError, KeyError, TypeError):
            continue  # a line that a crash tore
    return [rounds[number] for number in sorted(rounds)]


def read_standing(folder: Path) -> Standing:
    """The present state as last written; the default one if there is none."""
    try:
        fields = json.loads((folder / "status.json").read_text())
        return Standing(**fields)
    except (OSError, ValueError, TypeError):
        return Standing()
