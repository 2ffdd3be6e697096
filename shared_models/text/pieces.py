"""A text of any length in pieces that are synthesised at once, so that the first is heard early."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SENTENCE_PAUSE = 0.25
"""Seconds of silence after a sentence."""
CLAUSE_PAUSE = 0.08
"""Seconds of silence where a long sentence is cut."""
LONGEST_PIECE = 160
"""Letters that are synthesised at once: about ten seconds, as long as what models are trained on."""
_LETTERS_OF_A_SIGN = 4
"""A Chinese character, a kana or a figure takes as long to say as so many letters."""
_FIGURES = re.compile(r"\d{20,}")
"""So many figures are read one by one."""
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+(?=\S)|(?<=[。！？])")
# A stop after these goes on with the sentence: titles before a name, initials, and what stands before a number.
_NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Messrs|Dr|Prof|Capt|Col|Gen|Lt|Sgt|Maj|Rev|Hon|Gov|Pres|Sen|St|Mt|vs|No|Fig|Vol|Ch|pp?|e\.g|i\.e)"
    r"|(?:^|[\s(.])[A-Z])\.$"
)
_CLAUSE_END = re.compile(r"(?<=[,;:，；：])\s+|\s+(?=[—–(])|(?<=[，；：、])")


@dataclass(frozen=True, slots=True)
class Piece:
    """What is synthesised at once: a sentence, or a part of a long one."""

    text: str
    pause: float
    """Seconds of silence behind it."""


def split_text(text: str) -> list[Piece]:
    """The pieces of a text: sentences, and long ones cut at clauses, or else between words."""
    pieces: list[Piece] = []
    for line in text.splitlines():
        for sentence in _sentences(line):
            parts = _parts(sentence)
            pieces += [Piece(part, CLAUSE_PAUSE) for part in parts[:-1]]
            pieces.append(Piece(parts[-1], SENTENCE_PAUSE))
    return pieces


def _sentences(line: str) -> list[str]:
    found: list[str] = []
    for part in filter(None, (part.strip() for part in _SENTENCE_END.split(line))):
        # Nor does a sentence begin with a small letter, as after "p.m.".
        if found and (_NO_END.search(found[-1]) or (part[0].islower() and found[-1].endswith("."))):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def _parts(sentence: str) -> list[str]:
    """Parts of at most :data:`LONGEST_PIECE` letters, cut as late as that allows: at clauses, words, within words."""
    if _size(sentence) <= LONGEST_PIECE:
        return [sentence]
    clauses = _CLAUSE_END.split(sentence)
    return _joined(part for clause in clauses for part in _joined(p for w in clause.split() for p in _cut(w)))


def _size(text: str) -> int:
    """How long ``text`` is, in letters: a sign of its own counts as several."""
    signs = sum(map(_is_sign, text)) + sum(map(len, _FIGURES.findall(text)))
    return len(text) + (_LETTERS_OF_A_SIGN - 1) * signs


def _is_sign(character: str) -> bool:
    return "\u3040" <= character <= "\u9fff" or character >= "\uac00"


def _cut(word: str) -> list[str]:
    """``word`` in parts that are short enough. Where nothing divides Chinese, it is cut where the length says so."""
    parts, size = [""], 0
    for character in word:
        # Within a word figures count too: each is a word when it is spoken.
        weight = _LETTERS_OF_A_SIGN if _is_sign(character) or character.isdigit() else 1
        if size + weight > LONGEST_PIECE:
            parts.append("")
            size = 0
        parts[-1] += character
        size += weight
    return parts


def _joined(parts: Iterable[str]) -> list[str]:
    """``parts`` with as many neighbours joined, from the first on, as :data:`LONGEST_PIECE` allows."""
    found: list[str] = []
    sizes: list[int] = []
    for part in parts:
        if sizes and sizes[-1] + 1 + _size(part) <= LONGEST_PIECE:
            # Chinese is not divided by spaces, and gets none where it is joined again.
            gap = "" if _is_sign(found[-1][-1]) or _is_sign(part[0]) else " "
            found[-1] += f"{gap}{part}"
            sizes[-1] += len(gap) + _size(part)
        else:
            found.append(part)
            sizes.append(_size(part))
    return found
