"""What the classes of written English share: how a rule is written, and how a number in a text looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from re import Match
from typing import TypeAlias

from shared_models.text.numbers import cardinal, decimal, digits, ordinal

Spoken: TypeAlias = str | Callable[[Match[str]], str]
Rule: TypeAlias = tuple[re.Pattern[str], Spoken]
"""What is written, and how it is read."""

WHOLE = r"(?:(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)"
"""A whole number. Commas divide one number only where groups of three go on to its end: "98,99,100" is a list."""
NUMBER = rf"(?:{WHOLE}(?:\.\d+)?|(?<![\d.])\.\d+)"
"""A number with its decimals."""


def apply(rules: Sequence[Rule], text: str) -> str:
    """``text`` with every rule's written forms read, in the order of the rules."""
    for pattern, spoken in rules:
        text = pattern.sub(spoken, text)
    return text


_NAMED_BELOWS = frozenset(
    {*range(2, 21), 25, 30, 32, 40, 50, 60, 64, 90, 100, 128, 200, 500, 1000, 10_000, 1_000_000}
)
"""Fractions of these are read as "two thirds", of others as "sixteen over twenty one"."""


def number(written: str) -> str:
    """A number in words: "1,200.5" as "one thousand two hundred point five", "2 1/2" as "two and a half"."""
    if "/" in written:
        *whole, part = written.split(" ")
        top, bottom = part.split("/")
        return mixed(number(whole[0]), top, bottom) if whole else fraction(top, bottom)
    return decimal(written).removeprefix("zero ") if written.startswith(".") else decimal(written)


def fraction(top: str, bottom: str) -> str:
    """``("2", "3")`` as "two thirds", ``("16", "9")`` as "sixteen over nine"."""
    above, below = int(top), int(bottom)
    if below not in _NAMED_BELOWS or above > 99:
        return f"{cardinal(above)} over {cardinal(below)}"
    name = {2: "half", 4: "quarter"}.get(below) or ordinal(below)
    name = name.removeprefix("one ") if below >= 100 else name
    many = {2: "halves"}.get(below) or name + "s"
    return f"{cardinal(above)} {name if above == 1 else many}"


def mixed(whole: str, top: str, bottom: str) -> str:
    """A number and a fraction: ("two", "1", "2") as "two and a half"."""
    return f"{whole} and {'a ' if top == '1' else ''}{fraction(top, bottom).removeprefix('one ')}"


def is_one(written: str) -> bool:
    """Whether the word behind the number stands in the singular."""
    return written == "1"


def letters(word: str) -> str:
    """The names of letters, one after another: "TCP" as "T C P"."""
    return " ".join(word.upper())


def short_code(figures: str) -> str:
    """Figures in a name: A380 is "three eighty", 101 is "one oh one", longer ones figure by figure."""
    if len(figures) < 3:
        return cardinal(int(figures)) if figures[0] != "0" else digits(figures)
    if len(figures) > 3 or figures[0] == "0":
        return digits(figures)
    rest = int(figures[1:])
    if rest == 0:
        return cardinal(int(figures))
    return f"{cardinal(int(figures[0]))} {'oh ' if rest < 10 else ''}{cardinal(rest)}"
