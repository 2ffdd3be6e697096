"""Recordings and their transcripts as their owner keeps them: a folder, or a table.

A folder holds audio files, each with a text file of the same name beside it (``a.wav``, ``a.txt`` or
``a.lab``); folders inside it are one speaker each. A table is a CSV with a header (``path,text`` and, if
there are, ``speaker_id, language, split, role, seconds, alignment``), or, without one, LJSpeech's ``id|text`` or
piper's ``file|speaker|text``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from client.home.nearby import NearbyFiles
from client.home.tables import TABLE_NAME, LostRow, Row, has_no_header, rows_of
from shared_models.audio.decoding import AUDIO_SUFFIXES, SOUND_SUFFIXES
from shared_models.errors import CorpusError
from shared_models.file_names import path_within
from shared_models.text_file import read_text
from shared_models.utterance import Role, Split, Utterance

__all__ = ["TABLE_NAME", "Problem", "Recordings", "find_recordings", "has_no_header", "read_recordings"]

Layout = Literal["auto", "csv", "folder", "ljspeech"]

TEXT_SUFFIXES = (".txt", ".lab", ".normalized.txt")

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
    kind: str = "unreadable"
    """In a word."""


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
    refuse_empty(found, path)
    return list(found.utterances)


def refuse_empty(found: Recordings, path: Path) -> None:
    """Raise :class:`CorpusError` where nothing was found at ``path`` that could be used, with the first reason."""
    if not found.utterances:
        why = f": {found.problems[0].path.name}: {found.problems[0].reason}" if found.problems else ""
        raise CorpusError(
            f"{path} holds no audio with text{why}; give each recording a .txt file of the same name, or "
            f"write a {TABLE_NAME} with the columns path and text"
        )


def find_recordings(
    path: Path, *, layout: Layout = "auto", language: str = "en", speaker: str | None = None
) -> Recordings:
    """Everything at ``path``, with what is left out and why. Raises :class:`CorpusError`."""
    if not path.exists():
        raise CorpusError(f"there is no corpus at {path}; check the path")
    if path.is_file() and path.suffix.lower() in AUDIO_SUFFIXES:
        raise CorpusError(
            f"{path} is one recording: name the folder that it is in, with its text in {path.stem}.txt beside it"
        )
    if layout == "folder" and path.is_dir():
        return _from_folder(path, language, speaker)
    table = path if path.is_file() else path / TABLE_NAME
    if not table.is_file():
        if layout in {"csv", "ljspeech"}:
            raise CorpusError(f"{path} has no {TABLE_NAME}; write one, or choose the layout 'folder'")
        return _from_folder(path, language, speaker)
    plain = layout == "ljspeech" or (layout == "auto" and has_no_header(table))
    rows = rows_of(table, header=not plain)
    found = _collect(_placed(rows, table) if plain else rows, table.parent, language, speaker)
    if not found.utterances and not found.problems:
        return Recordings((), (Problem(table, "it lists no recordings", "empty"),))
    return found


def _placed(rows: Iterable[Row | LostRow], table: Path) -> Iterator[Row | LostRow]:
    """Rows that name a recording without a folder or a suffix: it is in ``wavs/`` or beside the table."""
    folder = table.parent / "wavs" if (table.parent / "wavs").is_dir() else table.parent
    nearby = NearbyFiles()
    for row in rows:
        if isinstance(row, LostRow):
            yield row
            continue
        name = row.fields["name"].replace("\\", "/")
        try:
            stems = [path_within(place, name, row.where) for place in dict.fromkeys((folder, table.parent))]
        except CorpusError as error:
            yield LostRow(row.where, str(error))
            continue
        audio = next((p for stem in stems if (p := _audio_of(stem, nearby)) is not None), None)
        audio = audio or stems[0].with_name(f"{stems[0].name}.wav")
        owner = row.fields.get("speaker") or table.resolve().parent.name
        path = audio.relative_to(table.parent).as_posix()
        named = {"path": path, "text": row.fields["text"], "utterance": name, "speaker": owner}
        yield Row(row.where, named)


def _audio_of(stem: Path, nearby: NearbyFiles) -> Path | None:
    named = nearby.find(stem) if stem.suffix.lower() in AUDIO_SUFFIXES else None
    return named or nearby.first(stem, AUDIO_SUFFIXES)


def _collect(rows: Iterable[Row | LostRow], root: Path, language: str, speaker: str | None) -> Recordings:
    utterances: dict[str, Utterance] = {}
    first: dict[str, str] = {}
    problems: list[Problem] = []
    states_split = False
    nearby = NearbyFiles()
    for row in rows:
        if isinstance(row, LostRow):
            problems.append(_lost(row.where, row.reason))
            continue
        if not row.fields["path"]:
            problems.append(_lost(row.where, "it names no recording; fill in its path"))
            continue
        states_split |= bool(row.fields.get("split") or row.fields.get("role"))
        written = root / row.fields["path"]
        audio = nearby.named(root, row.fields["path"])
        try:
            utterance = _utterance(row, audio or written, root, language, speaker)
        except CorpusError as error:
            problems.append(_lost(row.where, str(error)))
            continue
        if utterance.utterance_id in utterances:
            problems.append(
                Problem(
                    utterance.audio,
                    f"{row.where}: utterance {utterance.utterance_id!r} is listed twice, first in "
                    f"{first[utterance.utterance_id]}; give each its own id",
                    "second copy",
                )
            )
        elif not utterance.text:
            problems.append(Problem(written, "no text", "no text"))
        elif audio is None:
            problems.append(Problem(written, "there is no such file", "missing"))
        else:
            utterances[utterance.utterance_id] = utterance
            first[utterance.utterance_id] = row.where
    return Recordings(tuple(utterances[i] for i in sorted(utterances)), tuple(problems), states_split)


def _lost(where: str, reason: str) -> Problem:
    """A line that is left out; its table is the file that has to be mended."""
    table = where.rpartition(", line ")[0] or where
    return Problem(Path(table), reason if reason.startswith(where) else f"{where}: {reason}", "lost row")


def _utterance(row: Row, audio: Path, root: Path, language: str, speaker: str | None) -> Utterance:
    fields = row.fields
    written = fields["path"]
    # As Windows writes paths, unless there is a file of that very name here.
    relative = Path(written if (root / written) == audio else written.replace("\\", "/"))
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


def _from_folder(folder: Path, language: str, speaker: str | None) -> Recordings:
    rows: list[Row] = []
    problems: list[Problem] = []
    nearby = NearbyFiles()
    for audio, others in sorted(_audio_in(folder).items()):
        problems += [
            Problem(other, f"the recording is there as {audio.name} too, which is used", "second copy")
            for other in others
        ]
        text = nearby.first(audio.with_suffix(""), TEXT_SUFFIXES) or nearby.find(
            audio.with_name(f"{audio.name}.txt")
        )
        if text is None:
            problems.append(
                Problem(audio, "no text: there is no .txt or .lab file of the same name", "no text")
            )
            continue
        try:
            words = read_text(text)
        except CorpusError as error:
            problems.append(Problem(audio, f"no text: {error}", "no text"))
            continue
        alignment = nearby.first(audio.with_suffix(""), (".phones", ".TextGrid"))
        fields = {"path": audio.relative_to(folder).as_posix(), "text": words}
        fields |= {"alignment": alignment.relative_to(folder).as_posix()} if alignment else {}
        rows.append(Row(str(audio), fields))
    if not rows and not problems:
        looked = f"there are no recordings in it (files that end in {', '.join(SOUND_SUFFIXES[:5])}, .m4a or alike)"
        return Recordings((), (Problem(folder, looked, "empty"),))
    found = _collect(rows, folder.resolve() if folder.name in {"", ".."} else folder, language, speaker)
    return Recordings(found.utterances, (*problems, *found.problems))


def _audio_in(folder: Path) -> Mapping[Path, list[Path]]:
    """The recordings below a folder, each with the copies of it in other formats that are not used."""
    grouped: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        # A name that begins so is a Mac's note on the file, and no recording.
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("._") and path.is_file():
            grouped[path.with_suffix("")].append(path)
    chosen = {}
    for copies in grouped.values():
        first, *others = sorted(copies, key=lambda p: (AUDIO_SUFFIXES.index(p.suffix.lower()), p.suffix))
        chosen[first] = others
    return chosen
