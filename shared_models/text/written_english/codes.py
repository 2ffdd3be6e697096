"""Figures that name something and count nothing: telephone numbers, addresses, versions, flights, models."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.numbers import cardinal, digits
from shared_models.text.written_english.rules import Rule, letters, short_code

_CALL = (
    r"[Cc]all(?:ed|ing)?|[Dd]ial(?:ed|ing)?|[Pp]hone|[Tt]el(?:ephone)?\.?|[Ff]ax|[Tt]ext(?:ed|ing)?|[Rr]ing|[Mm]obile|"
    r"[Hh]otline"
)
_AFTER_CALL = r"(?: (?:me|us|him|her|them|on|at|to|number|is))*:?"
_NAMED_BY_FIGURES = (
    r"[Ff]light|[Rr]oom|[Ss]uite|[Hh]ighway|[Rr]oute|[Ii]nterstate|[Aa]rea|[Bb]us|[Bb]oeing|[Aa]irbus|[Gg]ate"
)
_KEYED = r"PIN|[Pp]asscode|[Pp]assword|[Cc]ode|ZIP|[Zz]ip|ISBN|[Ss]erial|[Aa]ccount|[Cc]ard|[Ii]d|ID"
_STATES = {
    "AL": "alabama", "AK": "alaska", "AZ": "arizona", "AR": "arkansas", "CA": "california", "CO": "colorado",
    "CT": "connecticut", "DE": "delaware", "FL": "florida", "GA": "georgia", "HI": "hawaii", "ID": "idaho",
    "IL": "illinois", "IN": "indiana", "IA": "iowa", "KS": "kansas", "KY": "kentucky", "LA": "louisiana",
    "ME": "maine",
    "MD": "maryland", "MA": "massachusetts", "MI": "michigan", "MN": "minnesota", "MS": "mississippi",
    "MO": "missouri",
    "MT": "montana", "NE": "nebraska", "NV": "nevada", "NH": "new hampshire", "NJ": "new jersey", "NM": "new mexico",
    "NY": "new york", "NC": "north carolina", "ND": "north dakota", "OH": "ohio", "OK": "oklahoma", "OR": "oregon",
    "PA": "pennsylvania", "RI": "rhode island", "SC": "south carolina", "SD": "south dakota", "TN": "tennessee",
    "TX": "texas", "UT": "utah", "VT": "vermont", "VA": "virginia", "WA": "washington", "WV": "west virginia",
    "WI": "wisconsin", "WY": "wyoming", "DC": "D C",
}  # fmt: skip

_WORDS = frozenset({"OR", "IN", "ME", "OK", "HI", "ID"})
"""States whose letters are words as well: read as states before a ZIP code alone."""


def _telephone(match: Match[str]) -> str:
    """Group by group, with a pause between; 800 is said as a number."""
    written = match[0]
    plus = "plus " if written.lstrip().startswith("+") else ""
    groups = re.findall(r"[A-Z]+|\d+", written)
    return plus + ", ".join(_group(group) for group in groups)


def _group(group: str) -> str:
    if not group.isdigit():
        return group.lower()
    return "eight hundred" if group == "800" else digits(group)


def _figures(match: Match[str]) -> str:
    return f"{match[1]} {digits(re.sub('[^0-9]', '', match[2]))}"


def _address(match: Match[str]) -> str:
    host, mark, port = re.fullmatch(r"([\d.]+)(?:([:/])(\d+))?", match[0]).groups()  # type: ignore[union-attr]
    said = " point ".join(digits(part) for part in host.split("."))
    return f"{said} {'colon' if mark == ':' else 'slash'} {digits(port)}" if port else said


def _version(match: Match[str]) -> str:
    name = "version " if match[1] else ""
    return name + " point ".join(cardinal(int(part)) for part in match[2].split("."))


def _model(match: Match[str]) -> str:
    return f"{letters(match[1])} {short_code(match[2])}"


def _state(match: Match[str]) -> str:
    return f"{match[1]}{_STATES[match[2]]} {digits(match[3])}{' ' + digits(match[4]) if match[4] else ''}"


RULES: list[Rule] = [
    (re.compile(r"(?<=\d{4}) (?:x|ext\.?) ?(\d{1,5})\b"), lambda m: f" extension {digits(m[1])}"),
    (re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d{1,5})?(?![\d.]*\d)"), _address),
    (re.compile(r"\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,5}(?![\w-])"), _telephone),
    (re.compile(r"(?<![\w-])(?:1[-. ])?\(\d{3}\)[ -]?\d{3}[-. ]\d{4}(?![\w-])"), _telephone),
    (re.compile(r"(?<![\w.-])(?:1[-. ])?\d{3}([-. ])\d{3}\1\d{4}(?:-\d+)?(?![\w-]|\.\d)"), _telephone),
    (re.compile(r"(?<![\w.-])1-\d{3}(?:-[A-Z\d]+){1,3}(?![\w-])"), _telephone),
    (re.compile(r"(?<![\w.$£€-])\d{3}-\d{4}(?![\w-]|\.\d)"), _telephone),
    # Three groups or more are a number to key in: 978-0-306-40615-7, 9-1-1.
    (re.compile(r"(?<![\w.$£€/-])\d+(?:-\d+){2,}(?![\w/-]|\.\d)"), _telephone),
    (re.compile(r"(?<![\w.-])\d{4}(?: \d{4}){3}(?![\w-])"), _telephone),
    (
        re.compile(rf"\b((?:{_CALL}){_AFTER_CALL}) (\d[\d -]*\d)\b(?!\s*(?:times|people|%))"),
        _figures,
    ),
    (re.compile(r"\b([Tt]he|[Oo]r|[Vv]ia) (911|999|112)\b(?= (?:call|operator|dispatch))"), _figures),
    (re.compile(r"\b(911)(?= (?:calls?|operators?|dispatch))"), lambda m: digits(m[1])),
    (
        re.compile(
            rf"\b((?:{_KEYED})(?: (?:is|was|number|no\.?|code))*:?) (\d{{3,}}(?:[ -]\d+)*)\b(?![.,]\d|\s*%)"
        ),
        _figures,
    ),
    (re.compile(rf"([A-Z][a-z]+,? )({'|'.join(_STATES)}),? (\d{{5}})(?:-(\d{{4}}))?\b"), _state),
    (
        re.compile(rf"(?<=[a-z], )({'|'.join(s for s in _STATES if s not in _WORDS)})\b(?=[,.;]|$| \w)"),
        lambda m: _STATES[m[1]],
    ),
    (re.compile(r"\b([vV]\.? ?)?(\d+(?:\.\d+){2,})(?![\d.]*\d)"), _version),
    (re.compile(r"\b([vV]\.?)(\d+(?:\.\d+)?)\b"), lambda m: f"version {m[2]}"),
    (re.compile(r"\b20/20\b"), "twenty twenty"),
    (re.compile(r"\b([A-Z]{1,3})(\d{1,2})\b(?![.,]?\d)"), lambda m: f"{letters(m[1])} {m[2]}"),
    (re.compile(r"\b(401)\(?[kK]\)?(?!\w)"), "four oh one K"),
    (re.compile(r"\b([A-Z]{1,3})-?(\d{3,})(?![\d,.]*\d|\w)(?<!FY\d{4})"), _model),
    (
        re.compile(rf"\b({_NAMED_BY_FIGURES}) (\d{{3}})\b(?![,.]\d)"),
        (lambda m: f"{m[1]} {short_code(m[2])}"),
    ),
    (re.compile(r"\b(\d{3})([A-Z])\b(?= [A-Z][a-z])"), lambda m: f"{short_code(m[1])} {m[2]}"),
    (re.compile(r"\b([A-Z]{2,})-(\d{1,2})\b(?!-)"), r"\1 \2"),
]
