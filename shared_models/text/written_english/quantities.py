"""Numbers of every other kind: fractions, ordinals, signs, spans, powers, and what mathematics writes."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.numbers import cardinal, ordinal, year
from shared_models.text.written_english.rules import NUMBER, WHOLE, Rule, fraction, mixed, number

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ο": "omicron", "π": "pi", "ρ": "rho",
    "σ": "sigma", "ς": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
}  # fmt: skip
_MATHEMATICS = {
    "≤": "less than or equal to", "≥": "greater than or equal to", "≠": "not equal to", "≈": "approximately equal to",
    "±": "plus or minus", "∞": "infinity", "√": "the square root of", "∑": "the sum of", "∏": "the product of",
    "∫": "the integral of", "→": "to", "⇒": "implies", "∂": "partial", "∆": "delta", "∈": "in", "∪": "union",
    "∩": "intersection", "∅": "the empty set", "∝": "proportional to", "∠": "angle", "⊥": "perpendicular to",
    "≡": "is identical to", "·": "times", "⋅": "times", "∙": "times", "×": "times", "÷": "divided by",
}  # fmt: skip
SYMBOLS = {sign: f" {words} " for sign, words in (_GREEK | _MATHEMATICS).items()}
"""Letters of mathematics and its signs, as words."""
SYMBOLS |= {letter.upper(): words for letter, words in SYMBOLS.items() if letter in _GREEK}
_POWERS = {"2": "squared", "3": "cubed"}
_BASE = r"(?<=[\w)])"


def _fraction(match: Match[str]) -> str:
    return fraction(match[1], match[2])


def _mixed(match: Match[str]) -> str:
    return mixed(match[1], match[2], match[3])


def _plain(match: Match[str]) -> str:
    written = match[0]
    if re.fullmatch(r"1[1-9]\d\d|20[1-9]\d", written):
        return f" {year(int(written))} "
    return f" {number(written)} "


def _power(match: Match[str]) -> str:
    exponent = match[1].strip("{}()")
    if exponent in _POWERS:
        return f" {_POWERS[exponent]} "
    if exponent.isdigit():
        return f" to the {ordinal(int(exponent))} "
    said = f"minus {number(exponent[1:])}" if exponent[0] == "-" else exponent
    return f" to the {said} "


def _scientific(match: Match[str]) -> str:
    exponent = match[2].lstrip("+")
    said = f"minus {cardinal(int(exponent[1:]))}" if exponent.startswith("-") else ordinal(int(exponent))
    return f"{number(match[1])} times ten to the {said}"


RULES: list[Rule] = [
    (re.compile(r"\b24/7\b"), "twenty four seven"),
    (re.compile(r"\b50[-/]50\b"), "fifty fifty"),
    (re.compile(rf"({NUMBER})[eE]([+-]?\d{{1,3}})\b"), _scientific),
    (re.compile(rf"{_BASE}\^(\{{[^{{}}\s]{{1,8}}\}}|\(-?\w{{1,8}}\)|-?\w{{1,8}})"), _power),
    (re.compile(r"(?<![\d/.])(\d+)(?: |-| and )(\d{1,2})/(\d{1,2})\b(?!/)"), _mixed),
    (re.compile(r"(?<![\d/.])\b(\d{1,3})/(\d{1,7})\b(?![/\d]|\.\d)"), _fraction),
    (
        re.compile(rf"\b({WHOLE})(?:st|nd|rd|th)\b", re.IGNORECASE),
        lambda m: ordinal(int(m[1].replace(",", ""))),
    ),
    (re.compile(r"#(?=\d)"), "number "),
    (re.compile(r"(?<=[\d)]) - (?=[\d(][^=]{0,24}=)"), " minus "),
    (re.compile(r"(?<=[=(+×÷*<>≤≥≈±]) ?-(?=[\d.])"), " minus "),
    (re.compile(r"(?<=[\d)]) ?[xX×] ?(?=[\d(])"), " by "),
    (re.compile(r"(?<=\d) ?\* ?(?=\d)"), " times "),
    (re.compile(r"(?<=\d)(?:th|st|nd|rd)? ?- ?(?=\d)"), " to "),
    (re.compile(r"(?<=[\d)]) ?/ ?(?=[\d(])"), " over "),
    (re.compile(NUMBER), _plain),
    (re.compile(r"\.(?=\d)"), " point "),
]
