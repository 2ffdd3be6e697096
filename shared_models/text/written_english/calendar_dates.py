"""Dates in every order, years, decades and spans of years."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.numbers import cardinal, ordinal, plural, year
from shared_models.text.written_english.rules import Rule

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_DAYS = {
    "mon": "monday", "tue": "tuesday", "tues": "tuesday", "wed": "wednesday", "thu": "thursday", "thur": "thursday",
    "thurs": "thursday", "fri": "friday", "sat": "saturday", "sun": "sunday",
}  # fmt: skip
_MONTH = (
    r"(?:[Jj]an(?:uary)?|[Ff]eb(?:ruary)?|[Mm]ar(?:ch)?|[Aa]pr(?:il)?|May|[Jj]une?|[Jj]uly?|[Aa]ug(?:ust)?|"
    r"[Ss]ept?(?:ember)?|[Oo]ct(?:ober)?|[Nn]ov(?:ember)?|[Dd]ec(?:ember)?)"
)
_DAY = r"(?:3[01]|[12]\d|0?[1-9])"
_NTH = r"(?:st|nd|rd|th)?"
_EARLY = r"\b([Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Yy]ear|[Cc]irca|AD|[Oo]f|[Ff]rom|[Bb]efore|[Aa]fter|[Aa]round)"


def dates(day_first: bool) -> list[Rule]:
    """The rules; ``day_first`` where 5/6 is the fifth of June, as everywhere but in the United States."""

    def spoken(month: int, day: int, written: str = "") -> str:
        said = (
            f"the {ordinal(day)} of {MONTHS[month - 1]}"
            if day_first
            else f"{MONTHS[month - 1]} {ordinal(day)}"
        )
        return f"{said}, {_year_in_full(written)}" if written else said

    def year_first(match: Match[str]) -> str:
        month, day = int(match[3]), int(match[4])
        return spoken(month, day, match[1]) if month <= 12 and day <= 31 else match[0]

    def year_last(match: Match[str]) -> str:
        first, second = int(match[1]), int(match[3])
        # A stop divides dates only where the day comes first.
        day, month = (first, second) if day_first or match[2] == "." or first > 12 else (second, first)
        if month > 12 and day <= 12:
            day, month = month, day
        return spoken(month, day, match[4]) if 1 <= month <= 12 and 1 <= day <= 31 else match[0]

    def without_year(match: Match[str]) -> str:
        first, second = int(match[2]), int(match[3])
        day, month = (first, second) if (day_first and second <= 12) or first > 12 else (second, first)
        return f"{match[1]} {spoken(month, day)}" if month <= 12 else match[0]

    def month_day(match: Match[str]) -> str:
        until = f" to {ordinal(int(match[3]))}" if match[3] else ""
        return f"{month_name(match[1])} {ordinal(int(match[2]))}{until}"

    return [
        *_WEEKDAYS,
        (re.compile(r"(?<![\d.-])(1\d{3}|20\d\d)([-/.])(\d{1,2})\2(\d{1,2})(?![\d-]|\.\d)"), year_first),
        (re.compile(r"(?<![\d./-])(\d{1,2})([/.-])(\d{1,2})\2(1\d{3}|20\d\d)(?![\d-]|\.\d)"), year_last),
        (re.compile(r"(?<![\d./-])(\d{1,2})(/)(\d{1,2})/(\d\d)(?![\d/])"), year_last),
        (re.compile(r"\b9/11\b"), "nine eleven"),
        (re.compile(r"\b([Oo]n|[Dd]ue|[Dd]ated) (\d{1,2})/(\d{1,2})\b(?!/|\s\w*s\b)"), without_year),
        (re.compile(r"\b([Bb]y|[Uu]ntil|[Ss]ince|[Ff]rom) (\d{1,2})/([12]\d|3[01])\b(?!/)"), without_year),
        (
            re.compile(rf"\b({_MONTH})\.? ({_DAY}){_NTH}(?: ?- ?({_DAY}){_NTH})?\b(?!\d|:|,\d|\.\d| ?%)"),
            month_day,
        ),
        (
            re.compile(
                rf"\b(?:[Tt]he )?({_DAY}){_NTH} ?- ?({_DAY}){_NTH}(?: of)? ({_MONTH})\b\.?(?=,? |[,.;:)]|$)"
            ),
            lambda m: f"the {ordinal(int(m[1]))} to the {ordinal(int(m[2]))} of {month_name(m[3])}",
        ),
        (
            re.compile(rf"(?<![\d.,:/-])\b(?:[Tt]he )?({_DAY}){_NTH}(?: of)? ({_MONTH})\b(?!\.\w)"),
            lambda m: f"the {ordinal(int(m[1]))} of {month_name(m[2])}",
        ),
        *_YEARS,
    ]


def month_name(written: str) -> str:
    """The month that a name or its first letters mean."""
    return next(month for month in MONTHS if month.startswith(written[:3].lower()))


def _year_in_full(written: str) -> str:
    number = int(written)
    if len(written) == 4:
        return year(number)
    return year(number + (2000 if number < 50 else 1900))


def _decade(match: Match[str]) -> str:
    number = int(match[1])
    return plural(year(number) if number >= 1000 else cardinal(number))


def _span(match: Match[str]) -> str:
    first, last = match[1], match[2]
    if len(last) == 2 and int(last) <= int(first[2:]):
        return match[0]
    after = year(int(last)) if len(last) == 4 else f"{'oh ' if last[0] == '0' else ''}{cardinal(int(last))}"
    return f"{_year(int(first))} to {after}"


def _year(number: int) -> str:
    """Years before 1100 as well: "ten sixty six"."""
    if 1010 <= number < 1100:
        return f"ten {cardinal(number % 100)}"
    return year(number)


_WEEKDAYS: list[Rule] = [
    # Not "Sat" and "Sun" alone, which are words.
    (
        re.compile(
            r"\b(Mon|Tues?|Wed|Thu|Thurs?|Fri|Sat|Sun)\.?( ?- ?| to )(Mon|Tues?|Wed|Thu|Thurs?|Fri|Sat|Sun)\b\.?"
        ),
        lambda m: f"{_DAYS[m[1].lower()]} to {_DAYS[m[3].lower()]}",
    ),
    (
        re.compile(rf"\b(Mon|Tues?|Wed|Thu|Thurs?|Fri|Sat|Sun)\b\.?(,?)(?= (?:the )?(?:{_MONTH}\b|\d))"),
        lambda m: _DAYS[m[1].lower()] + m[2],
    ),
]
_YEARS: list[Rule] = [
    (re.compile(rf"(?<=\d\d\d\d) - (?={_MONTH}\.? \d)"), " to "),
    (re.compile(r"\b(Mon|Tues|Wed|Thurs|Fri)\.(?= ?\w)"), lambda m: _DAYS[m[1].lower()]),
    (re.compile(rf"\b({_MONTH})\.?(?=,? (?:1\d|20)\d\d\b)"), lambda m: month_name(m[1])),
    (re.compile(r"(?:(?<=\s)|^)'(\d\d)(?=[\s,.!?;:)]|$)"), lambda m: _figures(m[1])),
    (re.compile(r"(?:\b|')(\d\d0|\d{3}0|\d0)'?s\b"), _decade),
    (
        re.compile(r"(?<![\d.,/-])(1\d{3}|20\d\d) ?[-/] ?((?:1\d{3}|20\d\d)|\d\d)(?![\d/-]|\.\d|,\d{3})"),
        _span,
    ),
    (re.compile(r"\b(FY|CY) ?'?(\d\d|20\d\d)\b"), lambda m: f"{m[1][0]} Y {_figures(m[2])}"),
    (re.compile(r"\b(\d+) (BCE|BC|CE|AD)\b\.?"), lambda m: f"{_era_year(m[1])} {' '.join(m[2])}"),
    (re.compile(r"\bAD (\d+)\b"), lambda m: f"A D {_era_year(m[1])}"),
    (
        re.compile(rf"{_EARLY} (10[1-9]\d)(?![\d,%:/-]|\.\d| [a-z]*s\b)"),
        lambda m: f"{m[1]} {_year(int(m[2]))}",
    ),
]


def _figures(written: str) -> str:
    if len(written) == 4:
        return year(int(written))
    return f"{'oh ' if written[0] == '0' else ''}{cardinal(int(written))}"


def _era_year(written: str) -> str:
    return _year(int(written)) if len(written) == 4 else cardinal(int(written))
