"""Praat's TextGrid, whatever program wrote it: long, short, or as JSON; UTF-8 or UTF-16.

Of a text file only numbers, quoted strings and flags that stand alone count, as Praat itself reads it; all else is a
comment (Praat manual, "TextGrid file formats"). The JSON forms are those of praatio and Montreal Forced Aligner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(<[^<>]*>)|!.*|([^\s"]+)')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_POINTS = ("texttier", "point", "pointtier")


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier of a TextGrid."""

    name: str
    intervals: tuple[tuple[float, float, str], ...] | None
    """Start and end in seconds, and label; None for a tier of points."""


def read_tiers(text: str) -> list[Tier]:
    """The tiers in the text of a file. Raises ValueError, in words, for anything else than a TextGrid."""
    try:
        return _of_json(json.loads(text)) if text.lstrip().startswith("{") else _of_text(text)
    except (StopIteration, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise ValueError("it ends early, or is none") from None


def _of_text(text: str) -> list[Tier]:
    tokens = _tokens(text)
    if not str(next(tokens)).startswith("ooTextFile") or next(tokens) != "TextGrid":
        raise ValueError("it does not begin like one")
    _number(tokens), _number(tokens)
    if next(tokens) != _EXISTS:
        return []
    return [_tier(tokens) for _ in range(_count(tokens))]


_EXISTS = object()


def _tokens(text: str) -> Iterator[object]:
    """Strings as str, numbers as float, flags as :data:`_EXISTS` or None."""
    for token in _TOKEN.finditer(text):
        string, flag, word = token.groups()
        if string is not None:
            yield string.replace('""', '"')
        elif flag is not None:
            yield _EXISTS if flag == "<exists>" else None
        elif word is not None and _NUMBER.fullmatch(word):
            yield float(word)


def _tier(tokens: Iterator[object]) -> Tier:
    kind, name = _string(tokens), _string(tokens)
    _number(tokens), _number(tokens)
    count = _count(tokens)
    if kind.lower() in _POINTS:
        for _ in range(count):
            _number(tokens), _string(tokens)
        return Tier(name, None)
    intervals = []
    for _ in range(count):
        start, end = _number(tokens), _number(tokens)
        intervals.append((start, end, _string(tokens)))
    return Tier(name, tuple(intervals))


def _number(tokens: Iterator[object]) -> float:
    token = next(tokens)
    if not isinstance(token, float):
        raise ValueError(f"it has {str(token)[:20]!r} where a number belongs")
    return token


def _string(tokens: Iterator[object]) -> str:
    token = next(tokens)
    if not isinstance(token, str):
        raise ValueError(f"it has {str(token)[:20]} where a label belongs")
    return token


def _count(tokens: Iterator[object]) -> int:
    number = _number(tokens)
    if not (number.is_integer() and number >= 0):
        raise ValueError(f"it has {number:g} where a count belongs")
    return int(number)


def _of_json(content: Any) -> list[Tier]:
    tiers = content["tiers"]
    named = tiers.items() if isinstance(tiers, dict) else ((tier["name"], tier) for tier in tiers)
    return [_tier_of_json(str(name), tier) for name, tier in named]


def _tier_of_json(name: str, tier: Any) -> Tier:
    if str(tier.get("type", tier.get("class", "interval"))).lower() in _POINTS:
        return Tier(name, None)
    return Tier(name, tuple((float(start), float(end), str(label)) for start, end, label in tier["entries"]))
