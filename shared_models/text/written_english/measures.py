"""Measures: a number and a unit, in the usual capitals and without, singular and plural, squares, rates and spans."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.written_english.rules import NUMBER, Rule, is_one, number

_PREFIXES = {
    "k": "kilo",
    "M": "mega",
    "G": "giga",
    "T": "tera",
    "m": "milli",
    "μ": "micro",
    "n": "nano",
    "p": "pico",
}


def _with_prefixes(prefixes: str, symbol: str, name: str) -> dict[str, str]:
    return {prefix + symbol: _PREFIXES[prefix] + name for prefix in prefixes}


_UNITS: dict[str, str] = {
    "m": "meter", "cm": "centimeter", "dm": "decimeter", **_with_prefixes("kmμnp", "m", "meter"),
    "g": "gram", **_with_prefixes("kmμn", "g", "gram"), "mcg": "microgram", "Kg": "kilogram", "KG": "kilogram",
    "kgs": "kilogram", "Km": "kilometer", "KM": "kilometer", "kms": "kilometer",
    "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "cl": "centiliter", "cL": "centiliter",
    "dl": "deciliter", "dL": "deciliter", "μl": "microliter", "μL": "microliter", "hl": "hectoliter",
    "s": "second", "sec": "second", "secs": "second", **_with_prefixes("mμnp", "s", "second"), "msec": "millisecond",
    "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "yr": "year", "yrs": "year",
    "wk": "week", "wks": "week", "mo": "month", "mos": "month",
    "V": "volt", "v": "volt", **_with_prefixes("kmM", "V", "volt"), "W": "watt", "w": "watt",
    **_with_prefixes("kMGTmn", "W", "watt"), "kw": "kilowatt", "mw": "megawatt", "KW": "kilowatt",
    "A": "amp", **_with_prefixes("kmμ", "A", "amp"), "Ω": "ohm", **_with_prefixes("kM", "Ω", "ohm"),
    "J": "joule", **_with_prefixes("kMG", "J", "joule"), "N": "newton", "kN": "kilonewton", "Pa": "pascal",
    **_with_prefixes("kMG", "Pa", "pascal"), "hPa": "hectopascal", "mbar": "millibar", "eV": "electronvolt",
    **_with_prefixes("kMGT", "eV", "electronvolt"), **_with_prefixes("μnp", "F", "farad"),
    "cal": "calorie", "kcal": "kilocalorie", "Wh": "watt hour", "kWh": "kilowatt hour", "MWh": "megawatt hour",
    "GWh": "gigawatt hour", "TWh": "terawatt hour", "mAh": "milliamp hour", "Ah": "amp hour", "kwh": "kilowatt hour",
    "KWh": "kilowatt hour", "mol": "mole", "mmol": "millimole", "lm": "lumen", "ha": "hectare",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "mi": "mile", "yd": "yard", "yds": "yard", "gal": "gallon",
    "qt": "quart", "pt": "point", "tsp": "teaspoon", "tbsp": "tablespoon", "Tbsp": "tablespoon",
    **_with_prefixes("kMGT", "B", "byte"), "KB": "kilobyte", "PB": "petabyte", "kb": "kilobyte",
    "mb": "megabyte", "gb": "gigabyte", "tb": "terabyte", "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte",
    "TiB": "tebibyte", "Mb": "megabit", "Gb": "gigabit", "Kb": "kilobit", "px": "pixel", "MP": "megapixel",
    "t": "ton", "sq ft": "square foot", "sq mi": "square mile", "sq m": "square meter", "sq km": "square kilometer",
    "cu ft": "cubic foot", "ft": "foot", "nmi": "nautical mile",
    "fl oz": "fluid ounce", "kn": "knot", "kt": "knot", "kts": "knot", "in": "inch",
}  # fmt: skip
_SAME = {
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "THz": "terahertz", "hz": "hertz",
    "khz": "kilohertz", "mhz": "megahertz", "ghz": "gigahertz", "HZ": "hertz", "KHz": "kilohertz",
    "dB": "decibels", "db": "decibels", "DB": "decibels", "dBm": "decibel milliwatts",
    "mph": "miles per hour", "MPH": "miles per hour",
    "kph": "kilometers per hour", "kmh": "kilometers per hour", "rpm": "revolutions per minute",
    "RPM": "revolutions per minute", "fps": "frames per second", "FPS": "frames per second",
    "bpm": "beats per minute",
    "BPM": "beats per minute", "dpi": "dots per inch", "ppi": "pixels per inch", "ppm": "parts per million",
    "ppb": "parts per billion", "psi": "pounds per square inch", "PSI": "pounds per square inch",
    "mpg": "miles per gallon", "hp": "horsepower", "lx": "lux", "lux": "lux",
    "mmHg": "millimeters of mercury", "bps": "bits per second", "kbps": "kilobits per second",
    "Kbps": "kilobits per second",
    "Mbps": "megabits per second", "Gbps": "gigabits per second", "mbps": "megabits per second", "%": "percent",
    "‰": "per mille", "pp": "percentage points", "cc": "C C", "M": "million", "K": "thousand",
    "k": "thousand", "bn": "billion", "mn": "million", "tn": "trillion",
}  # fmt: skip
_DEGREES = {
    "°C": "celsius", "° C": "celsius", "°F": "fahrenheit", "° F": "fahrenheit", "°": "", "ºC": "celsius",
    "ºF": "fahrenheit", "º": "",
}  # fmt: skip
_PER = {"s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "d": "day", "day": "day"} | {
    "yr": "year", "year": "year", "week": "week", "month": "month",
}  # fmt: skip
_IRREGULAR = {"foot": "feet", "square foot": "square feet", "cubic foot": "cubic feet"}
_MUST_TOUCH = frozenset({"K", "k", "t", "M", "w", "v", "mo", "MP", "kt", "kn"})
"""Units that are read as such only where they touch their number."""
_NEVER_TOUCH = frozenset({"s", "A"})
"""The s of "iPhone 5s" is no second, nor the A of "Room 5A" an ampere."""
_HYPHENED = frozenset({"in"})
"""What is a word of its own behind a number, unless a hyphen joins them: "a 6-in pipe"."""


def _alternatives(units: list[str]) -> str:
    return "|".join(re.escape(unit) for unit in sorted(units, key=len, reverse=True))


_LOOSE = _alternatives([u for u in [*_UNITS, *_SAME] if u not in _MUST_TOUCH | _HYPHENED])
_TIGHT = _alternatives([u for u in [*_UNITS, *_SAME] if u not in _NEVER_TOUCH | _HYPHENED])
_VALUE = rf"(?:(?:\d+ )?(?<![\d/.,])\d{{1,2}}/\d{{1,2}}(?!\d)|(?<!/){NUMBER})"
_EDGE = r"(?![\w°'’]|-[a-z]*\d)"
_RATE = rf"(?: ?/ ?(?P<per>{_alternatives([*_UNITS, *_PER])})(?:\^(?P<per_power>[23]))?)?"
_UNIT = rf"(?: ?(?P<loose>{_LOOSE})|(?P<tight>{_TIGHT})|-(?P<hyphen>{_LOOSE}|in))(?:\^(?P<power>[23]))?{_RATE}{_EDGE}"
_RANGE = rf"(?:(?P<first>{NUMBER}) ?(?:-|to|[x×]) ?)?"


def _measure(match: Match[str]) -> str:
    unit = match["loose"] or match["tight"] or match["hyphen"]
    written, first, per = match["value"], match["first"], match["per"]
    if unit in _NEVER_TOUCH and match["loose"] and match.string[match.start("loose") - 1] != " ":
        return match[0]
    between = " by " if first and re.search("[x×]", match[0][len(first) : len(first) + 3]) else " to "
    said = f"{number(first)}{between}{number(written)}" if first else number(written)
    rate = ""
    if per:
        in_time = per in _PER and match["per_power"]
        below = _PER.get(per) or _UNITS[per]
        rate = (
            f" per {below} {'squared' if match['per_power'] == '2' else 'cubed'}"
            if in_time
            else (f" per {_power(match['per_power'])}{below}")
        )
    part = "/" in written and " " not in written
    single = part or (is_one(written) and not first) or match["hyphen"] is not None
    return f"{said} {_power(match['power'])}{_named(unit, single)}{rate}"


def _power(power: str | None) -> str:
    return {"2": "square ", "3": "cubic "}.get(power or "", "")


def _named(unit: str, single: bool) -> str:
    if unit in _SAME:
        return _SAME[unit] if not single or unit not in {"dB", "db", "DB"} else "decibel"
    name = _UNITS[unit]
    return name if single else _IRREGULAR.get(name) or f"{name}s"


def _degrees(match: Match[str]) -> str:
    scale = _DEGREES[match[3].replace(" ", "")]
    first = f"{number(match[1])} to " if match[1] else ""
    one = is_one(match[2]) and not first
    return f"{first}{number(match[2])} degree{'' if one else 's'}{' ' if scale else ''}{scale}"


def _feet(match: Match[str]) -> str:
    inches = f" {number(match[2])}" if match[2] else ""
    return f"{number(match[1])} {'foot' if match[2] or is_one(match[1]) else 'feet'}{inches}"


def _inches(match: Match[str]) -> str:
    # Behind an odd number of quotes the mark closes a quotation.
    quoted = match.string[max(0, match.start() - 400) : match.start()].count('"') % 2
    return match[0] if quoted else f"{number(match[1])} inch{'' if is_one(match[1]) else 'es'}"


def _coordinate(match: Match[str]) -> str:
    seconds = f" {number(match[3])} seconds" if match[3] else ""
    return f"{number(match[1])} degrees {number(match[2])} minutes{seconds}"


RULES: list[Rule] = [
    (re.compile(r"(?<![\w.)'\"])-(?=\d|\.\d)"), "minus "),
    (
        re.compile(
            r"\b([48]K|(?:[25]|10)K(?= (?:TVs?|videos?|films?|run|race|resolution|screens?)\b))(?!\w)"
        ),
        lambda m: f"{m[1][:-1]} K",
    ),
    (
        re.compile(r"(?<=\d)( ?[a-z]{1,2})? ?[x×] ?(?=\d+(?:\.\d+)? ?[a-z]{1,2}\b)"),
        lambda m: f"{m[1] or ''} by " if m[1] else m[0],
    ),
    (re.compile(rf"({NUMBER})° ?(\d{{1,2}})'(?: ?({NUMBER})\")?"), _coordinate),
    (re.compile(r"\b(\d)'(?: ?(\d{1,2})(?:\"|'')?)(?!\w)"), _feet),
    (re.compile(rf"({NUMBER})\"(?= [a-z]|$)"), _inches),
    (re.compile(r"\b(\d+) ?ft\.? ?(\d{1,2}) ?in\b\.?"), _feet),
    (re.compile(rf"(?:({NUMBER}) ?- ?)?({NUMBER}) ?({_alternatives(list(_DEGREES))})(?![A-Za-z])"), _degrees),
    (
        re.compile(
            rf"({NUMBER})B\b(?=(?<=\.\dB)| (?:people|users|parameters|dollars|tokens|years|models?)\b)"
        ),
        lambda m: f"{number(m[1])} billion",
    ),
    (re.compile(rf"{_RANGE}(?P<value>{_VALUE}){_UNIT}"), _measure),
    (
        re.compile(rf"({NUMBER}) in(?:\.(?=,| [a-z])|\^([23]))"),
        lambda m: f"{number(m[1])} {_power(m[2])}inches",
    ),
]
