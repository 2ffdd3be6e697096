"""Recordings and their transcripts as their owner keeps them: a folder, or a table.

A folder holds audio files, each with a text file of the same name beside it (``a.wav``, ``a.txt`` or
``a.lab``); folders inside it are one speaker each. A table is a CSV with a header (``path,text`` and, if
there are, ``speaker_id, language, split, role, seconds, alignment``) or LJSpeech's ``id|text`` without one.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from shared_models.errors import CorpusError
from shared_models.file_names import path_within
from shared_models.utterance import Role, Split, Utterance

Layout = Literal["auto", "csv", "folder", "ljspeech"]

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
TEXT_SUFFIXES = (".txt", ".lab", ".normalized.txt")
TABLE_NAME = "metadata.csv"

_COLUMNS = {
    "path": ("path", "file", "audio", "audio_path", "file_name", "filename", "wav"),
    "text": ("text", "transcript", "sentence", "transcription"),
    "speaker": ("speaker_id", "speaker", "client_id"),
    "utterance": ("utterance_id", "id"),
    "split": ("split",),
    "role": ("role",),
    "language": ("language", "locale", "lang"),
    "seconds": ("seconds", "duration"),
    "alignment": ("alignment",),
}
_SPLITS: dict[str, Split] = {
    "": "train",
    "train": "train",
    "training": "train",
    "test": "test",
    "dev": "test",
    "valid": "test",
    "validation": "test",
    "eval": "test",
}
_ROLES = ("train", "support", "query")


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is left out, and why, in words."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Recordings:
    """What was found at a path."""

    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...]
    states_split: bool = False
    """Whether a table says which speakers are test speakers."""


def read_recordings(
    path: Path, *, layout: Layout = "auto", language: str = "en", speaker: str | None = None
) -> list[Utterance]:
    """The usable utterances at ``path``, for instance one owner's folder, sorted by id.

    ``speaker`` overrides whoever the files name. Audio is not opened. Raises :class:`CorpusError` where
    nothing is usable, and for a table that cannot be read.
    """
    found = find_recordings(path, layout=layout, language=language, speaker=speaker)
    if not found.utterances:
        why = f": {found.problems[0].path.name}: {found.problems[0].reason}" if found.problems else ""
        raise CorpusError(
            f"{path} holds no audio with text{why}; give each recording a .txt file of the same name, or "
            f"write a {TABLE_NAME} with the columns path and text"
        )
    return list(found.utterances)


def find_recordings(
    path: Path, *, layout: Layout = "auto", language: str = "en", speaker: str | None = None
) -> Recordings:
    """Everything at ``path``, with what is left out and why. Raises :class:`CorpusError`."""
    if not path.exists():
        raise CorpusError(f"there is no corpus at {path}; check the path")
    if layout == "folder" and path.is_dir():
        return _from_folder(path, language, speaker)
    table = path if path.is_file() else path / TABLE_NAME
    if not table.is_file():
        if layout in {"csv", "ljspeech"}:
            raise CorpusError(f"{path} has no {TABLE_NAME}; write one, or choose the layout 'folder'")
        return _from_folder(path, language, speaker)
    if layout == "ljspeech" or (layout == "auto" and has_no_header(table)):
        return _collect(_ljspeech_rows(table), table.parent, language, speaker)
    return _collect(_csv_rows(table), table.parent, language, speaker)


def has_no_header(table: Path) -> bool:
    """Whether ``table`` looks like LJSpeech's: ``id|text`` from the first line on."""
    first = next(iter(_lines(table)), "")
    return "|" in first and not _named(first.rstrip("\r\n").split("|")).keys() >= {"path", "text"}


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a table: where it is, and its fields by our names."""

    where: str
    fields: Mapping[str, str]


def _collect(rows: Iterable[_Row], root: Path, language: str, speaker: str | None) -> Recordings:
    utterances: dict[str, Utterance] = {}
    problems: list[Problem] = []
    states_split = False
    for row in rows:
        audio = root / row.fields["path"]
        states_split |= bool(row.fields.get("split") or row.fields.get("role"))
        utterance = _utterance(row, audio, root, language, speaker)
        if utterance.utterance_id in utterances:
            raise CorpusError(
                f"{row.where}: utterance {utterance.utterance_id!r} is listed twice; give each its own id"
            )
        if not utterance.text:
            problems.append(Problem(audio, "no text"))
        elif not audio.is_file():
            problems.append(Problem(audio, "there is no such file"))
        else:
            utterances[utterance.utterance_id] = utterance
    return Recordings(tuple(utterances[i] for i in sorted(utterances)), tuple(problems), states_split)


def _utterance(row: _Row, audio: Path, root: Path, language: str, speaker: str | None) -> Utterance:
    fields = row.fields
    relative = Path(fields["path"])
    by_folder = relative.parts[0] if len(relative.parts) > 1 and not relative.is_absolute() else root.name
    split = _SPLITS.get(fields.get("split", "").lower())
    if split is None:
        raise CorpusError(f"{row.where}: split is {fields['split']!r}; write train or test")
    role = fields.get("role", "").lower() or ("train" if split == "train" else "query")
    if role not in _ROLES:
        raise CorpusError(f"{row.where}: role is {fields['role']!r}; write train, support or query")
    if not fields.get("split") and role != "train":
        split = "test"
    alignment = fields.get("alignment")
    return Utterance(
        utterance_id=fields.get("utterance") or relative.with_suffix("").as_posix(),
        speaker_id=_speaker_id(speaker or fields.get("speaker") or by_folder, row.where),
        audio=audio,
        text=" ".join(fields["text"].split()),
        language=fields.get("language") or language,
        seconds=_seconds(fields.get("seconds", ""), row.where),
        split=split,
        role=cast(Role, role),
        alignment=root / alignment if alignment else None,
    )


def _speaker_id(name: str, where: str) -> str:
    # A speaker's id names folders.
    if name in {".", ".."} or any(c in name for c in '/\\:*?"<>|') or not name.isprintable():
        raise CorpusError(f"{where}: speaker {name!r} cannot name a folder; use letters, digits, - and _")
    return name


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise CorpusError(f"{where}: seconds is {text!r}; write a number, or leave it empty")
    return seconds


def _lines(table: Path) -> Iterator[str]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            yield from stream
    except UnicodeDecodeError as error:
        raise CorpusError(f"{table} is not UTF-8 text ({error.reason}); save it again as UTF-8") from error
    except OSError as error:
        raise CorpusError(f"{table} cannot be read ({error.strerror}); check its permissions") from error


def _named(header: Iterable[str]) -> dict[str, int]:
    """Where our columns are in a header."""
    places = {name.strip().lower(): place for place, name in reversed(list(enumerate(header)))}
    return {
        ours: next(places[alias] for alias in aliases if alias in places)
        for ours, aliases in _COLUMNS.items()
        if any(alias in places for alias in aliases)
    }


def _csv_rows(table: Path) -> Iterator[_Row]:
    header = next(iter(_lines(table)), "")
    delimiter = Counter(c for c in header if c in ",\t;|").most_common(1)
    reader = csv.reader(_lines(table), delimiter=delimiter[0][0] if delimiter else ",")
    columns: dict[str, int] = {}
    width = 0
    try:
        for fields in reader:
            where = f"{table}, line {reader.line_num}"
            if not columns:
                columns, width = _named(fields), len(fields)
                _check_header(columns, fields, table)
            elif any(fields):
                if len(fields) != width:
                    raise CorpusError(
                        f"{where}: {len(fields)} fields where the header has {width}; put quotes around "
                        "text that holds the separator"
                    )
                yield _Row(where, {name: fields[place].strip() for name, place in columns.items()})
    except csv.Error as error:
        raise CorpusError(f"{table}, line {reader.line_num}: {error}; mend the quotes there") from error
    if not columns:
        raise CorpusError(f"{table} is empty; write a header with the columns path and text")


def _check_header(columns: Mapping[str, int], header: Iterable[str], table: Path) -> None:
    for needed in ("path", "text"):
        if needed not in columns:
            raise CorpusError(
                f"{table}, line 1: no column '{needed}' among {', '.join(header)}; name it in the header "
                f"(also known as {', '.join(_COLUMNS[needed][1:])})"
            )


def _ljspeech_rows(table: Path) -> Iterator[_Row]:
    """``id|text`` or ``id|text|normalised text``; the audio is in ``wavs/`` or beside the table."""
    folder = table.parent / "wavs" if (table.parent / "wavs").is_dir() else table.parent
    for number, line in enumerate(_lines(table), start=1):
        where = f"{table}, line {number}"
        name, bar, rest = line.strip().partition("|")
        if not (name or bar):
            continue
        if not name or not bar:
            raise CorpusError(f"{where}: expected id|text, found {line.strip()[:40]!r}; add the missing part")
        stem = path_within(folder, name, where)
        audio = _existing(stem, AUDIO_SUFFIXES) or stem.with_name(f"{stem.name}.wav")
        text = rest.split("|")[-1] or rest.split("|")[0]
        path = audio.relative_to(table.parent).as_posix()
        fields = {"path": path, "text": text, "utterance": name, "speaker": table.resolve().parent.name}
        yield _Row(where, fields)


def _existing(stem: Path, suffixes: Iterable[str]) -> Path | None:
    if stem.suffix in AUDIO_SUFFIXES and stem.is_file():
        return stem
    return next((p for s in suffixes if (p := stem.with_name(stem.name + s)).is_file()), None)


def _from_folder(folder: Path, language: str, speaker: str | None) -> Recordings:
    rows, problems = [], []
    for audio in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()):
        text = next((p for s in TEXT_SUFFIXES if (p := audio.with_suffix(s)).is_file()), None)
        if text is None:
            problems.append(Problem(audio, "no text: there is no .txt or .lab file of the same name"))
            continue
        try:
            words = text.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(audio, f"its text {text.name} cannot be read ({error})"))
            continue
        alignment = _existing(audio.with_suffix(""), (".phones", ".TextGrid"))
        fields = {"path": audio.relative_to(folder).as_posix(), "text": words}
        fields |= {"alignment": alignment.relative_to(folder).as_posix()} if alignment else {}
        rows.append(_Row(str(audio), fields))
    found = _collect(rows, folder.resolve() if folder.name in {"", ".."} else folder, language, speaker)
    return Recordings(found.utterances, (*problems, *found.problems))
