"""Tables of recordings: a CSV with a header, or LJSpeech's and piper's without one.

Every line becomes a row or a sentence that says why it is lost: nothing vanishes. A quote that is opened and not closed
is a character, and never takes the lines after it into its field.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared_models.errors import CorpusError
from shared_models.shown_text import shown
from shared_models.text_file import read_text

TABLE_NAME = "metadata.csv"

_COLUMNS = {
    "path": (
        "path", "file", "audio", "audio_path", "file_name", "filename", "wav", "audio_file", "audio_filepath",
        "wav_filename", "wav_path",
    ),
    "text": ("text", "transcript", "sentence", "transcription", "normalized_text"),
    "speaker": ("speaker_id", "speaker", "client_id", "speaker_name"),
    "utterance": ("utterance_id", "id"),
    "split": ("split",),
    "role": ("role",),
    "language": ("language", "locale", "lang"),
    "seconds": ("seconds", "duration"),
    "alignment": ("alignment",),
}  # fmt: skip
_DELIMITERS = ",\t;|"
_PLAIN_DELIMITERS = "\t|"
"""Between these a quote is a character, as those programs write it that use them."""
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_LONGEST_FIELD = 200
"""Lines in one quoted field."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: where it is, and its fields by our names."""

    where: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LostRow:
    """A line that is left out, and why."""

    where: str
    reason: str


def rows_of(table: Path, *, header: bool) -> Iterator[Row | LostRow]:
    """The rows of a table, which has a ``header`` or is laid out as LJSpeech's or piper's.

    Raises :class:`CorpusError` for a file that is no table, or lacks a column that is needed.
    """
    lines = list(io.StringIO(read_text(table), newline=""))
    return _with_header(table, lines) if header else _without_header(table, lines)


def has_no_header(table: Path) -> bool:
    """Whether ``table`` looks like LJSpeech's or piper's: fields between bars from the first line on."""
    first = next((line for line in io.StringIO(read_text(table), newline="") if line.strip()), "")
    return "|" in first and not _named(first.rstrip("\r\n").split("|")).keys() >= {"path", "text"}


def _named(header: Iterable[str]) -> dict[str, int]:
    """Where our columns are in a header."""
    places = {name.strip().strip('"').lower(): place for place, name in reversed(list(enumerate(header)))}
    return {
        ours: next(places[alias] for alias in aliases if alias in places)
        for ours, aliases in _COLUMNS.items()
        if any(alias in places for alias in aliases)
    }


def _with_header(table: Path, lines: Sequence[str]) -> Iterator[Row | LostRow]:
    start = next((number for number, line in enumerate(lines) if line.strip()), None)
    if start is not None and re.fullmatch(r"sep=.", lines[start].strip()):  # what Excel puts there
        start = next((n for n in range(start + 1, len(lines)) if lines[n].strip()), None)
    if start is None:
        raise CorpusError(f"{table} is empty; write a header with the columns path and text")
    delimiter = _delimiter(lines[start])
    header = _parsed(lines[start], delimiter)
    columns = _named(header)
    _check_header(columns, header, table)
    layout = _Layout(delimiter, len(header), columns["path"])
    number = start + 1
    while number < len(lines):
        where = f"{table}, line {number + 1}"
        fields, taken = _record(lines, number, layout)
        number += taken
        if not any(field.strip() for field in fields):
            continue
        if len(fields) > len(header) and not any(field.strip() for field in fields[len(header) :]):
            fields = fields[: len(header)]
        if len(fields) == len(header):
            yield Row(where, {name: fields[place].strip() for name, place in columns.items()})
        else:
            yield LostRow(
                where,
                f"{len(fields)} fields where the header has {len(header)}; put quotes around text that holds the "
                "separator, and close every quote",
            )


def _delimiter(header: str) -> str:
    """What separates the fields: with it there are columns of recordings and of texts, or else the most columns."""
    ways = [(delimiter, header.rstrip("\r\n").split(delimiter)) for delimiter in _DELIMITERS]
    return max(ways, key=lambda way: ({"path", "text"} <= _named(way[1]).keys(), len(way[1])))[0]


def _record(lines: Sequence[str], start: int, layout: _Layout) -> tuple[list[str], int]:
    """The fields of the record at line ``start``, and how many lines it takes."""
    line = lines[start].rstrip("\r\n")
    plain = line.split(layout.delimiter)
    if not _is_open(line, layout.delimiter):
        if layout.delimiter in _PLAIN_DELIMITERS and len(plain) == layout.width:
            return [f[1:-1].replace('""', '"') if _QUOTED.fullmatch(f) else f for f in plain], 1
        return _parsed(line, layout.delimiter), 1
    joined = lines[start]
    for taken, more in enumerate(lines[start + 1 : start + _LONGEST_FIELD], start=2):
        if layout.is_row(more, like=plain):
            break  # the quote before it was never closed
        joined += more
        if not _is_open(joined, layout.delimiter):
            fields = _strictly_parsed(joined, layout.delimiter)
            if len(fields) == layout.width:
                return fields, taken
            break
    return plain, 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the lines of a table with a header are divided."""

    delimiter: str
    width: int
    path: int
    """Which field names the recording."""

    def is_row(self, line: str, like: Sequence[str]) -> bool:
        """Whether a line is a row of its own, of a recording ``like`` another row's, and no part of a text."""
        fields = line.rstrip("\r\n").split(self.delimiter)
        if len(fields) != self.width:
            fields = _parsed(line, self.delimiter)
        if len(fields) != self.width or len(like) <= self.path:
            return False
        mine, other = (Path(row[self.path].strip().strip('"')) for row in (fields, like))
        return bool(mine.name) and mine.suffix.lower() == other.suffix.lower() and " " not in mine.suffix


def _is_open(record: str, delimiter: str) -> bool:
    """Whether a quote is still open at the end."""
    try:
        list(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _strictly_parsed(record: str, delimiter: str) -> list[str]:
    """The fields of one record in which every quote is opened and closed as it should be; none otherwise."""
    try:
        rows = list(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return []
    return rows[0] if len(rows) == 1 else []


def _parsed(record: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return record.rstrip("\r\n").split(delimiter)


def _check_header(columns: Mapping[str, int], header: Iterable[str], table: Path) -> None:
    for needed in ("path", "text"):
        if needed not in columns:
            raise CorpusError(
                f"{table}, line 1: no column '{needed}' among {shown(', '.join(header))}; name it in the header "
                f"(also known as {', '.join(_COLUMNS[needed][1:])})"
            )


def _without_header(table: Path, lines: Sequence[str]) -> Iterator[Row | LostRow]:
    """``id|text``, ``id|text|normalised text`` (LJSpeech) or ``file|speaker|text`` (piper)."""
    numbered = [(number, line.strip().split("|")) for number, line in enumerate(lines, 1) if line.strip()]
    width = max((len(fields) for _, fields in numbered), default=0)
    if width > 3:
        raise CorpusError(
            f"{table} has {width} columns and no header; write one, as in path|speaker_id|text with other names for "
            "columns that are not needed"
        )
    speakers = width == 3 and _second_is_speaker([fields for _, fields in numbered if len(fields) == 3])
    for number, fields in numbered:
        where = f"{table}, line {number}"
        if len(fields) < 2 or not fields[0].strip() or (speakers and len(fields) != 3):
            wanted = "file|speaker|text" if speakers else "id|text"
            yield LostRow(where, f"expected {wanted}, found {'|'.join(fields)[:40]!r}; add the missing part")
            continue
        named = {"name": fields[0].strip(), "text": fields[-1].strip() or fields[1].strip()}
        if speakers:
            named |= {"speaker": fields[1].strip(), "text": fields[2].strip()}
        yield Row(where, named)


def _second_is_speaker(rows: Sequence[Sequence[str]]) -> bool:
    """Whether second fields are people's names: they repeat before different texts.

    A text that repeats has the same normalised text each time, and most texts are of several words.
    """
    seconds = [row[1].strip() for row in rows]
    texts = {row[2].strip() for row in rows}
    return (
        all(seconds)
        and len(set(seconds)) < len(seconds)
        and len(set(seconds)) < len(texts)
        and all(len(name) <= 40 for name in seconds)
        and not any(row[1].strip().lower() == row[2].strip().lower() for row in rows)
    )
