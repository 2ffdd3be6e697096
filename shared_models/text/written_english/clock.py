"""Times of day, spans of them, and ratios, which are written with the same mark."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.numbers import cardinal, digits
from shared_models.text.written_english.rules import Rule

_HALF = r"(?: ?([aApP])\.?[mM]\b\.?)"
_HOUR, _MINUTE = r"(0?\d|1\d|2[0-4])", r"([0-5]\d)"
_SHORT = r"(1[0-2]|0?[1-9])"
_ZONES = r"EST|EDT|CST|CDT|MST|MDT|PST|PDT|ET|PT|CT|MT|GMT|UTC|BST|CET|CEST|IST|JST|AEST"
_COUNT, _H, _M, _S = r"(\d{1,3}) ?", "(?:h|hrs?)", "(?:m|mins?)", "(?:s|secs?)"


def _time(hour: int, minute: int, half: str | None) -> str:
    if minute == 0:
        if hour in {0, 24} and not half:
            return "midnight"
        words = cardinal(hour) + ("" if half or hour > 12 else " o'clock")
        words += " hundred" if hour > 12 and not half else ""
    else:
        words = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    return words + _half(half)


def _half(half: str | None) -> str:
    return f" {half.upper()} M" if half else ""


def _at(match: Match[str]) -> str:
    return _time(int(match[1]), int(match[2]), match[3])


def _with_seconds(match: Match[str]) -> str:
    seconds = int(match[3])
    said = f"{_time(int(match[1]), int(match[2]), None).removesuffix(' hundred')}"
    return f"{said} and {cardinal(seconds)} second{'' if seconds == 1 else 's'}{_half(match[4])}"


def _span(match: Match[str]) -> str:
    if not (match[2] or match[3] or match[5] or match[6]):
        return match[0]
    last = _short(match[4], match[5], match[6])
    return f"{_short(match[1], match[2], match[3])} to {last}"


def _short(hour: str, minute: str | None, half: str | None) -> str:
    if minute is None:
        return cardinal(int(hour)) + _half(half)
    return _time(int(hour), int(minute), half)


def _ratio(match: Match[str]) -> str:
    if "." in match[0]:
        return match[0].replace(":", " to ")
    return " to ".join(cardinal(int(part)) for part in match[0].split(":"))


def _lasting(match: Match[str]) -> str:
    """``2h 15m`` and ``5m 30s``: hours, minutes and seconds beside one another."""
    parts = [
        (int(n), name) for n, name in zip(match.groups(), ("hour", "minute", "second"), strict=True) if n
    ]
    return " ".join(f"{cardinal(n)} {name}{'' if n == 1 else 's'}" for n, name in parts)


def _military(match: Match[str]) -> str:
    hour, minute = match[1], match[2]
    said = ("zero " if hour[0] == "0" else "") + cardinal(int(hour))
    if minute == "00":
        return f"{said} hundred hours"
    return f"{said} {digits(minute) if minute[0] == '0' else cardinal(int(minute))} hours"


RULES: list[Rule] = [
    (re.compile(rf"(?<![\d.,:])\b{_COUNT}{_H} ?{_COUNT}{_M}(?: ?{_COUNT}{_S})?(?!\w)"), _lasting),
    (re.compile(rf"(?<![\d.,:])\b()?{_COUNT}{_M} ?{_COUNT}{_S}(?!\w)"), _lasting),
    (re.compile(rf"(?<=[\dmM.]) ({_ZONES})\b"), lambda m: " " + " ".join(m[1])),
    (re.compile(rf"\b{_HOUR}:{_MINUTE}:{_MINUTE}{_HALF}?(?![\d:])"), _with_seconds),
    (
        re.compile(
            rf"(?<![\d:.$£€-]){_SHORT}(?::{_MINUTE})?{_HALF}? ?- ?{_SHORT}(?::{_MINUTE})?{_HALF}?(?![\w:%-]|\.\d)"
        ),
        _span,
    ),
    (re.compile(rf"(?<![\d:.]){_HOUR}:{_MINUTE} ?- ?{_HOUR}:{_MINUTE}(?![\d:])"), lambda m: (
        f"{_time(int(m[1]), int(m[2]), None)} to {_time(int(m[3]), int(m[4]), None)}"
    )),
    (re.compile(rf"(?<![\d:.]){_HOUR}:{_MINUTE}{_HALF}?(?![\d:])"), _at),
    (re.compile(rf"\b{_SHORT}\.{_MINUTE}{_HALF}"), _at),
    (re.compile(rf"\b{_SHORT}{_HALF}"), lambda m: cardinal(int(m[1])) + _half(m[2])),
    (re.compile(r"\b([01]\d|2[0-3])([0-5]\d) (?:hours|hrs)\b"), _military),
    (re.compile(r"(?<![\d:.])\d+:\d+(?:\.\d+)?(?![\d:])"), _ratio),
]  # fmt: skip
