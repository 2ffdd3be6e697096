"""The device's home: its recordings, its personal parameters, its training log. None of it is ever sent.

::

    <home>/recordings.json            what was recorded, and where (audio is not copied)
    <home>/personal/<run>/            personal parameters after each round, and those a run started from
    <home>/remainder/<run>/           what compression left out of each of the last updates
    <home>/ledger.sqlite              privacy spent
    <home>/training.jsonl             losses, for the owner's eyes
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from shared_models.errors import CorpusError
from shared_models.files import append_line, write_atomically
from shared_models.private_files import private_folder
from shared_models.utterance import Utterance

# The server goes back at most one checkpoint, to start the round before the one that was being trained.
_PERSONAL_VERSIONS_KEPT = 3


@dataclass(frozen=True, slots=True)
class Device:
    """One participant's files. Several runs may use the same home, one after another."""

    home: Path
    speaker: str
    recordings: tuple[Utterance, ...]
    feature_cache: Path

    @classmethod
    def create(cls, home: Path, speaker: str, recordings: Sequence[Utterance], feature_cache: Path) -> Device:
        """Set a home up (again); personal parameters and ledger already there are kept."""
        described = [
            asdict(u) | {"audio": str(u.audio), "alignment": u.alignment and str(u.alignment)}
            for u in recordings
        ]
        private_folder(home)
        content = {"speaker": speaker, "feature_cache": str(feature_cache), "recordings": described}
        write_atomically(home / "recordings.json", json.dumps(content).encode())
        return cls(home, speaker, tuple(recordings), feature_cache)

    @classmethod
    def open(cls, home: Path) -> Device:
        """Open a home. Raises :class:`CorpusError` if there is none."""
        try:
            content = json.loads((home / "recordings.json").read_text())
        except (OSError, json.JSONDecodeError):
            raise CorpusError(
                f"{home} is not a device's home (no readable recordings.json): make it with `fedvoice corpus devices`"
            ) from None
        recordings = tuple(_utterance(described) for described in content["recordings"])
        return cls(home, content["speaker"], recordings, Path(content["feature_cache"]))

    @property
    def ledger_path(self) -> Path:
        """Where the device's privacy ledger is kept."""
        return self.home / "ledger.sqlite"

    def load_personal(
        self, run: str, before_round: int, *, like: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor] | None:
        """The personal parameters to start round ``before_round`` of ``run`` with; None for a fresh device.

        A round that is trained again after a crash starts from the same parameters as the first time. A
        new run starts where the device's newest run ended whose voice is shaped ``like`` this model's.
        """
        rounds = [r for r in self._saved_rounds(run) if r < before_round]
        if rounds:
            return _load(self._personal_file(run, max(rounds)))
        start = self.home / "personal" / run / "start.safetensors"
        if not start.exists() and not self._saved_rounds(run):
            self._adopt_previous(run, start, like)
        return _load(start)

    def save_personal(self, run: str, round_number: int, state: dict[str, Tensor]) -> None:
        """Keep the personal parameters as they are after ``round_number``."""
        write_atomically(self._personal_file(run, round_number), save(state))
        earlier = sorted(r for r in self._saved_rounds(run) if r <= round_number)
        for old in earlier[:-_PERSONAL_VERSIONS_KEPT]:
            self._personal_file(run, old).unlink(missing_ok=True)

    def load_remainder(self, run: str, before_round: int) -> Tensor | None:
        """What compression left out of the device's last update before ``before_round``, ``(D,)``, or None.

        A damaged file counts as none: all that it costs is what was in it.
        """
        rounds = [r for r in self._rounds_in("remainder", run) if r < before_round]
        try:
            state = _load(self._remainder_file(run, max(rounds))) if rounds else None
        except CorpusError:
            return None
        return state.get("remainder") if state else None

    def save_remainder(self, run: str, round_number: int, remainder: Tensor) -> None:
        """Keep what compression left out of the update of ``round_number``; older ones go, as personal sets do."""
        write_atomically(self._remainder_file(run, round_number), save({"remainder": remainder}))
        earlier = sorted(r for r in self._rounds_in("remainder", run) if r <= round_number)
        for old in earlier[:-_PERSONAL_VERSIONS_KEPT]:
            self._remainder_file(run, old).unlink(missing_ok=True)

    def last_round(self, run: str) -> int:
        """The newest round of ``run`` after which personal parameters were kept; -1 if none."""
        return max(self._saved_rounds(run), default=-1)

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to the owner's training log."""
        append_line(self.home / "training.jsonl", json.dumps(entry), durable=False)

    def _personal_file(self, run: str, round_number: int) -> Path:
        return self.home / "personal" / run / f"round-{round_number:05d}.safetensors"

    def _remainder_file(self, run: str, round_number: int) -> Path:
        return self.home / "remainder" / run / f"round-{round_number:05d}.safetensors"

    def _saved_rounds(self, run: str) -> list[int]:
        return self._rounds_in("personal", run)

    def _rounds_in(self, kind: str, run: str) -> list[int]:
        folder = self.home / kind / run
        return [int(path.stem.removeprefix("round-")) for path in folder.glob("round-*.safetensors")]

    def _adopt_previous(self, run: str, start: Path, like: Mapping[str, Tensor] | None) -> None:
        others = [p for p in (self.home / "personal").glob("*/round-*.safetensors") if p.parent.name != run]
        for path in sorted(others, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True):
            if like is None or _shapes(_load(path) or {}) == _shapes(like):
                write_atomically(start, path.read_bytes())
                return


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _load(path: Path) -> dict[str, Tensor] | None:
    try:
        return dict(load_file(path)) if path.exists() else None
    except SafetensorError:
        raise CorpusError(
            f"the personal parameters in {path} are damaged: delete the file to go on from the round before"
        ) from None


def _utterance(described: dict[str, Any]) -> Utterance:
    alignment = described.pop("alignment")
    audio = Path(described.pop("audio"))
    return Utterance(**described, audio=audio, alignment=Path(alignment) if alignment else None)
