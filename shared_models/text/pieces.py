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
"""Characters that are synthesised at once: about ten seconds, as long as what models are trained on."""
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
    """Parts of at most :data:`LONGEST_PIECE` characters (or one longer word), cut as late as that allows."""
    if len(sentence) <= LONGEST_PIECE:
        return [sentence]
    clauses = _CLAUSE_END.split(sentence)
    return _joined(part for clause in clauses for part in _joined(clause.split()))


def _joined(parts: Iterable[str]) -> list[str]:
    """``parts`` with as many neighbours joined, from the first on, as :data:`LONGEST_PIECE` allows."""
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + 1 + len(part) <= LONGEST_PIECE:
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found
