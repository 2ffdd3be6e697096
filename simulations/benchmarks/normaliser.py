"""How often the normaliser reads a text as a native reader would: a list of ``written<TAB>spoken`` lines, by class.

A line ``# name`` without a tab begins a class. Equally right readings are divided by " / ". Words are compared and
pauses are not; in Mandarin 幺 and 一 are one figure. Sentences of polyphones are also read as the CPP data set has them
(Park and Lee, "g2pM", Interspeech 2020): ``test.sent`` with ▁ around a character, and its pinyin in ``test.lb``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_models.errors import CorpusError, TextError
from shared_models.text.unspoken import HAN

FOLDER = Path(__file__).resolve().parent / "normaliser_lists"
LISTS = {"en": FOLDER / "english.tsv", "zh": FOLDER / "mandarin.tsv"}
"""Lists of our own, by language, on which the normaliser was mended."""
HELD_OUT = {"en": FOLDER / "english_held_out.tsv", "zh": FOLDER / "mandarin_held_out.tsv"}
"""Lists that were written before the normaliser was asked and scored once: 2026-11 gave the figures of
docs/benchmarks/texts.md. What they found was mended as well, so that the next honest figure needs a new list."""
POLYPHONES = FOLDER / "polyphones.tsv"
POLYPHONES_HELD_OUT = FOLDER / "polyphones_held_out.tsv"
"""Sentences of our own in which [one character] has several readings, and its numbered pinyin as it is spoken; the
second list as :data:`HELD_OUT`."""
_OTHERS = " / "
_MARKED = re.compile(r"(.*)\[(.)\](.*)")
_CPP = re.compile(r"(.*)▁(.)▁(.*)")
_NOT_HAN = re.compile(f"[^{HAN}]")


@dataclass(frozen=True, slots=True)
class Line:
    """One text and how it is read."""

    kind: str
    written: str
    readings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Miss:
    """A line that is read otherwise."""

    line: Line
    said: str


@dataclass(frozen=True, slots=True)
class Score:
    """What of a list is read right."""

    lines: tuple[Line, ...]
    misses: tuple[Miss, ...]

    @property
    def right(self) -> int:
        """Lines that are read as one of their readings."""
        return len(self.lines) - len(self.misses)

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Lines read right and lines, by class in the list's order."""
        kinds = dict.fromkeys(line.kind for line in self.lines)
        wrong = [miss.line.kind for miss in self.misses]
        counts = {kind: sum(line.kind == kind for line in self.lines) for kind in kinds}
        return {kind: (count - wrong.count(kind), count) for kind, count in counts.items()}

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "lines": len(self.lines),
            "right": self.right,
            "by_class": {kind: {"right": right, "lines": n} for kind, (right, n) in self.by_kind().items()},
            "misses": [
                {"class": m.line.kind, "written": m.line.written, "said": m.said, "right": m.line.readings[0]}
                for m in self.misses
            ],
        }


def read_list(path: Path) -> list[Line]:
    """The lines of a list. Raises :class:`CorpusError` for a file that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path} cannot be read as UTF-8 text ({error}); give lines of written<TAB>spoken"
        ) from error
    kind, lines = "all", []
    for number, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        written, tab, spoken = row.partition("\t")
        if not tab and row.startswith("# "):
            kind = row[2:].strip()
        elif tab and written.strip() and spoken.strip():
            lines.append(Line(kind, written, tuple(spoken.split(_OTHERS))))
        else:
            raise CorpusError(
                f"{path}, line {number}: expected written<TAB>spoken, or '# class', not {row[:40]!r}"
            )
    if not lines:
        raise CorpusError(f"{path} holds no line of written<TAB>spoken; write one text a line")
    return lines


def score(lines: Sequence[Line], language: str) -> Score:
    """Read every line's text. Raises :class:`TextError` for a language without a normaliser."""
    from shared_models.text.languages import ENGLISH, MANDARIN, Language

    code = Language.of(language).code
    if code not in {ENGLISH, MANDARIN}:
        raise TextError(f"there is no normaliser for language {language!r}; choose en or zh")
    normalise, plain = (_english(), _words) if code == ENGLISH else (_mandarin(), _characters)
    misses = []
    for line in lines:
        said = normalise(line.written)
        if plain(said) not in {plain(reading) for reading in line.readings}:
            misses.append(Miss(line, said))
    return Score(tuple(lines), tuple(misses))


def score_list(path: Path, language: str) -> Score:
    """A list of texts, or one of polyphones (in brackets, or CPP's). Raises as :func:`read_list`."""
    if path.suffix == ".sent":
        return score_polyphones(read_cpp(path))
    lines = read_list(path)
    if all(_MARKED.fullmatch(line.written) for line in lines):
        return score_polyphones(lines)
    return score(lines, language)


def read_polyphones(path: Path) -> list[Line]:
    """The sentences of a list of polyphones. Raises :class:`CorpusError` for a file that is none."""
    lines = read_list(path)
    unmarked = next((line for line in lines if not _MARKED.fullmatch(line.written)), None)
    if unmarked is not None:
        raise CorpusError(f"{path}: {unmarked.written[:40]!r} has no [character] in brackets")
    return lines


def read_cpp(path: Path) -> list[Line]:
    """The sentences of CPP in a ``.sent`` file, the ``.lb`` file with their readings beside it; by character.

    Raises :class:`CorpusError` for files that are none.
    """
    labels = path.with_suffix(".lb")
    try:
        sentences, readings = (file.read_text(encoding="utf-8").splitlines() for file in (path, labels))
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} and {labels.name} cannot be read as UTF-8 text ({error})") from error
    if len(sentences) != len(readings):
        raise CorpusError(
            f"{path} has {len(sentences)} lines and {labels.name} {len(readings)}: give both whole"
        )
    lines = []
    for number, (sentence, reading) in enumerate(zip(sentences, readings, strict=True), start=1):
        marked = _CPP.fullmatch(sentence)
        if marked is None:
            raise CorpusError(f"{path}, line {number}: expected one ▁character▁, not {sentence[:40]!r}")
        lines.append(Line(marked[2], f"{marked[1]}[{marked[2]}]{marked[3]}", (reading.strip(),)))
    return lines


def score_polyphones(lines: Sequence[Line]) -> Score:
    """Read the marked character of every sentence, as it is spoken or as it is before its neighbours change it."""
    misses = []
    for line in lines:
        marked = _MARKED.fullmatch(line.written)
        if marked is None:
            raise CorpusError(f"{line.written[:40]!r} has no [character] in brackets")
        said = _syllables(*marked.groups())
        if not set(said) & set(map(_plain_pinyin, line.readings)):
            misses.append(Miss(line, said[0]))
    return Score(tuple(lines), tuple(misses))


def _syllables(before: str, character: str, behind: str) -> tuple[str, ...]:
    """How ``character`` is said in the run of characters that it stands in, and how it is read but for sandhi."""
    from shared_models.text.mandarin_pinyin import spoken_pinyin

    first, last = _NOT_HAN.split(before)[-1], _NOT_HAN.split(behind)[0]
    run = f"{first}{character}{last}"
    return tuple(_plain_pinyin(spoken_pinyin(run, sandhi=sandhi)[len(first)][1]) for sandhi in (True, False))


def _plain_pinyin(syllable: str) -> str:
    return syllable.replace("u:", "v").replace("ü", "v")


def _english() -> Callable[[str], str]:
    from shared_models.text.normalisation import normalise_english

    return normalise_english


def _mandarin() -> Callable[[str], str]:
    from shared_models.text.written_mandarin import normalise_mandarin

    return normalise_mandarin


def _words(text: str) -> str:
    return " ".join(re.sub(r"[,.!?]", " ", text).split())


def _characters(text: str) -> str:
    return "".join(re.sub(r"[,.!?，。！？、]", " ", text).split()).replace("幺", "一")
