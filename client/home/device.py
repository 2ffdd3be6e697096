"""The device's home: its recordings, its personal parameters, its training log. None of it is ever sent.

::

    <home>/recordings.json            what was recorded, and where (audio is not copied)
    <home>/personal/<run>/            personal parameters after each round, and those a run started from
    <home>/remainder/<run>/           what compression left out of each of the last updates
    <home>/ledger.sqlite              what updates cost the person
    <home>/training.jsonl             losses, for the owner's eyes

A run's name comes from the server, so ``<run>`` is a digest of it and never the name itself.

A saved personal set says how it was made: with DP-SGD, and then under which ledger, or without. One that is to be
private starts from zero or from one that the same ledger paid for, and from no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from shared_models.errors import CorpusError
from shared_models.files import append_line, write_atomically
from shared_models.private_files import private_folder
from shared_models.utterance import Utterance

# The server goes back at most one checkpoint, to start the round before the one that was being trained.
_PERSONAL_VERSIONS_KEPT = 3
_PAID_BY = "dp-sgd-ledger"
"""The key of a saved set's header that names the ledger which paid for it."""
_HASHED = re.compile(r"run-[0-9a-f]{32}")
# What older versions could have made of a run's name without leaving the folder: one plain component.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


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
        self,
        run: str,
        before_round: int,
        *,
        like: Mapping[str, Tensor] | None = None,
        paid_by: str | None = None,
    ) -> dict[str, Tensor] | None:
        """The personal parameters to start round ``before_round`` of ``run`` with; None for a fresh device.

        A round that is trained again after a crash starts from the same parameters as the first time. A
        new run starts where the device's newest run ended whose voice is shaped ``like`` this model's. With
        ``paid_by``, the identity of a ledger, only what was made by DP-SGD under that ledger counts, also within the
        run, whose recipe may have changed.
        """
        rounds = [r for r in self._saved_rounds(run) if r < before_round]
        paid = [r for r in rounds if _is_paid(self._personal_file(run, r), paid_by)]
        if paid:
            return _load(self._personal_file(run, max(paid)))
        start = self._folder("personal", run) / "start.safetensors"
        if not start.exists() and not self._saved_rounds(run):
            self._adopt_previous(run, start, like, paid_by)
        return _load(start) if _is_paid(start, paid_by) else None

    def save_personal(
        self, run: str, round_number: int, state: dict[str, Tensor], *, paid_by: str | None = None
    ) -> None:
        """Keep the personal parameters as they are after ``round_number``.

        ``paid_by`` is the identity of the ledger that holds the cost of all that they say of the recordings; None
        where anything else than DP-SGD trained them.
        """
        header = None if paid_by is None else {_PAID_BY: paid_by}
        write_atomically(self._personal_file(run, round_number), save(state, header))
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
        return self._folder("personal", run) / f"round-{round_number:05d}.safetensors"

    def _remainder_file(self, run: str, round_number: int) -> Path:
        return self._folder("remainder", run) / f"round-{round_number:05d}.safetensors"

    def _saved_rounds(self, run: str) -> list[int]:
        return self._rounds_in("personal", run)

    def _rounds_in(self, kind: str, run: str) -> list[int]:
        folder = self._folder(kind, run)
        return [int(path.stem.removeprefix("round-")) for path in folder.glob("round-*.safetensors")]

    def _folder(self, kind: str, run: str) -> Path:
        """The folder of a run's files, named by a digest: the server's words name no place on this disk.

        One that an older version named by the run itself, as a plain word, is renamed first.
        """
        folder = self.home / kind / f"run-{hashlib.sha256(run.encode()).hexdigest()[:32]}"
        if _PLAIN.fullmatch(run) and not _HASHED.fullmatch(run):
            older = self.home / kind / run
            if older.is_dir() and not older.is_symlink() and not folder.exists():
                # Another process of the same device may have been first.
                with contextlib.suppress(FileNotFoundError):
                    older.rename(folder)
        return folder

    def _adopt_previous(
        self, run: str, start: Path, like: Mapping[str, Tensor] | None, paid_by: str | None
    ) -> None:
        own = self._folder("personal", run)
        others = [p for p in (self.home / "personal").glob("*/round-*.safetensors") if p.parent != own]
        for path in sorted(others, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True):
            if not _is_paid(path, paid_by):
                continue
            if like is None or _shapes(_load(path) or {}) == _shapes(like):
                write_atomically(start, path.read_bytes())
                return


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _is_paid(path: Path, ledger: str | None) -> bool:
    """Whether a saved set was made under the ledger of that identity; any will do for None."""
    if ledger is None or not path.exists():
        return ledger is None
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(_PAID_BY) == ledger
    except SafetensorError:
        raise _damaged(path) from None


def _load(path: Path) -> dict[str, Tensor] | None:
    try:
        return dict(load_file(path)) if path.exists() else None
    except SafetensorError:
        raise _damaged(path) from None


def _damaged(path: Path) -> CorpusError:
    return CorpusError(
        f"the personal parameters in {path} are damaged: delete the file to go on from the round before"
    )


def _utterance(described: dict[str, Any]) -> Utterance:
    alignment = described.pop("alignment")
    audio = Path(described.pop("audio"))
    return Utterance(**described, audio=audio, alignment=Path(alignment) if alignment else None)
