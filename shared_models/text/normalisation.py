"""English text as it is read aloud: numbers, money, dates, abbreviations and letters in words.

In the result every word is in lower case, except that a single capital letter stands for its name:
"F B I". The only marks left are ``, . ? !`` and the apostrophe.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match
from typing import TypeAlias

from shared_models.text.characters import canonical, join_pauses, without_accents
from shared_models.text.numbers import cardinal, decimal, ordinal, plural, year

_N = r"\d{1,3}(?:,\d{3})+|\d+"
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
}
_MAGNITUDES = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_UNITS = {
    "km": "kilometers", "m": "meters", "cm": "centimeters", "mm": "millimeters", "kg": "kilograms",
    "g": "grams", "mg": "milligrams", "lb": "pounds", "lbs": "pounds", "oz": "ounces", "ft": "feet",
    "mi": "miles", "mph": "miles per hour", "km/h": "kilometers per hour",
    "kph": "kilometers per hour", "hz": "hertz", "khz": "kilohertz", "mhz": "megahertz",
    "ghz": "gigahertz", "kb": "kilobytes", "mb": "megabytes", "gb": "gigabytes", "tb": "terabytes",
    "ml": "milliliters", "l": "liters", "ms": "milliseconds", "min": "minutes", "hrs": "hours",
    "db": "decibels", "kw": "kilowatts", "v": "volts", "w": "watts",
}  # fmt: skip
# A unit of one letter has to touch its number: "5g", but not "5 g".
_UNIT = "|".join((" ?" if len(u) > 1 else "") + re.escape(u) for u in sorted(_UNITS, key=len, reverse=True))
_ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "messrs": "messers", "dr": "doctor", "drs": "doctors",
    "prof": "professor", "capt": "captain", "col": "colonel", "gen": "general", "lt": "lieutenant",
    "sgt": "sergeant", "maj": "major", "rev": "reverend", "hon": "honorable", "gov": "governor",
    "pres": "president", "sen": "senator", "rep": "representative", "st": "saint", "mt": "mount",
    "jr": "junior", "sr": "senior", "co": "company", "inc": "incorporated", "ltd": "limited",
    "corp": "corporation", "dept": "department", "vs": "versus", "etc": "et cetera", "esq": "esquire",
    "approx": "approximately", "fig": "figure", "vol": "volume", "ave": "avenue", "blvd": "boulevard",
    "jan": "january", "feb": "february", "aug": "august", "sept": "september", "oct": "october",
    "nov": "november", "dec": "december",
}  # fmt: skip
# These end with a full stop even inside a sentence, so the stop is no pause.
_ABBREVIATION = re.compile(rf"\b({'|'.join(_ABBREVIATIONS)})\.(?=\s*(\S?))", re.IGNORECASE)
_WITHOUT_STOP = re.compile(r"\b(Mr|Mrs|Ms|Dr|vs)\b(?!\.)")
_SIGNS = {
    "&": " and ", "%": " percent", "+": " plus ", "=": " equals ", "@": " at ", "°": " degrees ",
    "×": " times ", "÷": " divided by ", "/": " ", "_": " ", "€": " euros ", "£": " pounds ",
    "$": " dollars ", "¥": " yen ", "*": " ", "~": " about ", "<": " less than ", ">": " greater than ",
}  # fmt: skip
_ROMAN = r"(?=[IVXLC]{2,7}\b)(?:C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_NUMBERED = r"Chapter|Book|Part|Volume|Vol|Act|Scene|War|Section|Article|Canto|Phase|Type|Class|Appendix"
_RULERS = (
    "Henry|Louis|George|Charles|Edward|Richard|James|William|John|Paul|Pius|Benedict|Elizabeth|Mary|Philip|"
    "Napoleon|Frederick|Alexander|Catherine|Nicholas|Peter|Ivan|Leo|Gregory|Clement|Innocent|Otto|Ferdinand"
)
_SPELLED_THOUGH_WORDS = frozenset({"US", "AM", "PM", "IT", "ID"})
_VOWEL = re.compile(r"[AEIOUY]")


def normalise_english(text: str) -> str:
    """``text`` in words, for instance "Dr. Li paid $3.50" as "doctor li paid three dollars fifty cents".

    Text without a single lower-case letter (the transcripts of LibriSpeech) is taken for a transcript in
    capitals, not for acronyms. Characters that no English word is made of are dropped, so that the
    result may be empty.
    """
    text = canonical(text)
    if _all_capitals(text):
        text = text.lower()
    # These are words; a capital that is left, or that a rule writes, stands for the letter.
    text = re.sub(r"(?<![\w.])[AI](?![\w.])", lambda m: m[0].lower(), text)
    for pattern, spoken in _RULES:
        text = pattern.sub(spoken, text)
    text = "".join(_SIGNS.get(c, c) for c in text)
    text = re.sub(r"\s-+\s|--+|[;:()\[\]{}]", " , ", without_accents(text))
    text = re.sub(r"[^A-Za-z',.?!\s]", " ", text)
    text = " ".join(_cased(word) for word in text.split())
    return join_pauses(text)


def _all_capitals(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return not any(c.islower() for c in letters) and (len(letters) > 6 or " " in text.strip())


def _cased(token: str) -> str:
    """Spell an acronym, keep a lone capital that was marked as a letter, and lower everything else."""
    match = re.fullmatch(r"('*)([A-Z]{2,6})('?s)?([,.?!']*)", token)
    if match:
        word = match[2]
        if word in _SPELLED_THOUGH_WORDS or not _VOWEL.search(word) or _unusual(word):
            return " ".join(word) + (f"'s{match[4]}" if match[3] else match[4])
    return token if re.fullmatch(r"[A-Z](?:'s)?[,.?!]*", token) else token.lower()


def _unusual(word: str) -> bool:
    """A short run of capitals that looks like letters rather than a shouted word: "BBC", "USA", "IBM"."""
    from shared_models.text.english import in_dictionary  # here, so that rules load without a lexicon

    return len(word) <= 4 and not in_dictionary(word.lower())


def _money(match: Match[str]) -> str:
    one, many, cent, cents = _CURRENCIES[match[1]]
    amount, fraction = match[2].replace(",", ""), match[3] or ""
    magnitude = match[4]
    if magnitude:
        name = _MAGNITUDES.get(magnitude.lower(), magnitude.lower())
        return f"{decimal(amount + fraction)} {name} {many}"
    if len(fraction) != 3:
        return f"{decimal(amount + fraction)} {one if amount == '1' and not fraction else many}"
    small = int(fraction[1:])
    whole = f"{decimal(amount)} {one if amount == '1' else many}"
    part = f"{cardinal(small)} {cent if small == 1 else cents}"
    return whole if not small else part if amount == "0" else f"{whole} {part}"


def _time(match: Match[str]) -> str:
    hour, minute, half = int(match[1]), int(match[2]), match[3]
    if minute == 0:
        words = cardinal(hour) + ("" if half or hour > 12 else " o'clock")
        words += " hundred" if hour > 12 and not half else ""
    else:
        words = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    return words + _half_of_day(half)


def _half_of_day(half: str | None) -> str:
    return f" {half.upper()} M" if half else ""


def _date(month: int, day: int, written_year: int) -> str:
    return f"{_MONTHS[month - 1]} {ordinal(day)}, {year(written_year)}"


def _fraction(match: Match[str]) -> str:
    top, bottom = int(match[1]), int(match[2])
    if not 2 <= bottom <= 20 or top > 99:
        return f"{cardinal(top)} over {cardinal(bottom)}"
    name = {2: "half", 4: "quarter"}.get(bottom) or ordinal(bottom)
    many = {2: "halves"}.get(bottom) or name + "s"
    return f"{cardinal(top)} {name if top == 1 else many}"


def _mixed(match: Match[str]) -> str:
    return f"{match[1]} and {'a ' if match[2] == '1' else ''}{_fraction_words(match[2], match[3])}"


def _fraction_words(top: str, bottom: str) -> str:
    words = _fraction(re.fullmatch(r"(\d+)/(\d+)", f"{top}/{bottom}"))  # type: ignore[arg-type]
    return words.removeprefix("one ")


def _number(match: Match[str]) -> str:
    text = match[0]
    if re.fullmatch(r"1[1-9]\d\d|20[1-9]\d", text):
        return year(int(text))
    return decimal(text)


def _decade(match: Match[str]) -> str:
    number = int(match[1])
    return plural(year(number) if number >= 1000 else cardinal(number))


def _web(match: Match[str]) -> str:
    address = re.sub(r"^(?:https?|ftp)://(?:www\.)?|^www\.", "", match[0])
    address = re.sub(r"[?#].*$", "", address).rstrip("/.,!")
    spoken = address.replace(".", " dot ").replace("/", " slash ").replace("@", " at ")
    tail = re.search(r"[.,!?]+$", match[0])
    return f" {spoken}{tail[0] if tail else ''} "


def _abbreviation(match: Match[str]) -> str:
    short, following = match[1].lower(), match[2]
    words = _ABBREVIATIONS[short]
    if short == "st" and not following.isupper():
        words = "street"
    if short in {"sen", "rep", "gen", "col", "fig", "vol", "co", "dec", "mt"} and match[1].islower():
        return match[0]
    # At the end of the text the stop ends the sentence as well.
    return words + ("" if following else ".")


def _letters(match: Match[str]) -> str:
    return match[0].replace(".", " ").upper()


def _roman_value(text: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}[c] for c in text]
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))


Spoken: TypeAlias = str | Callable[[Match[str]], str]
_RULES: list[tuple[re.Pattern[str], Spoken]] = [
    (re.compile(r"(?:https?://|ftp://|www\.)\S+|\b[\w.+-]+@[\w-]+\.[\w.]+\b"), _web),
    (re.compile(r"\b[\w-]+\.(?:com|org|net|edu|gov|io)\b(?:/\S*)?", re.IGNORECASE), _web),
    (re.compile(r"\b[eE]\.g\."), "for example"),
    (re.compile(r"\b[iI]\.e\."), "that is"),
    (re.compile(rf"\b({_NUMBERED})\.? ({_ROMAN})\b"), lambda m: f"{m[1]} {cardinal(_roman_value(m[2]))}"),
    (re.compile(rf"\b({_RULERS}) ({_ROMAN})\b"), lambda m: f"{m[1]} the {ordinal(_roman_value(m[2]))}"),
    (re.compile(rf"(?<=[a-z]{{3}}) ({_ROMAN})\b"), lambda m: f" {cardinal(_roman_value(m[1]))}"),
    (re.compile(r"\bNos?\.? ?(?=\d)"), "number "),
    (_ABBREVIATION, _abbreviation),
    (_WITHOUT_STOP, lambda m: _ABBREVIATIONS[m[1].lower()]),
    (
        re.compile(rf"([$£€¥]) ?({_N})(\.\d+)?(?: ?(thousand|million|billion|trillion|bn|tn|[kmbKMB])\b)?"),
        _money,
    ),
    (re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)(?: ?([aApP])\.?[mM]\b\.?)?"), _time),
    (
        re.compile(r"\b(1[0-2]|0?[1-9]) ?([aApP])\.?[mM]\b\.?"),
        lambda m: cardinal(int(m[1])) + _half_of_day(m[2]),
    ),
    (
        re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\b"),
        lambda m: _date(int(m[2]), int(m[3]), int(m[1])),
    ),
    (
        re.compile(r"\b(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])/(\d{4})\b"),
        lambda m: _date(int(m[1]), int(m[2]), int(m[3])),
    ),
    (
        re.compile(rf"\b({'|'.join(m.title() for m in _MONTHS)}) ([12]?\d|3[01])\b(?!\d|:)"),
        lambda m: f"{m[1]} {ordinal(int(m[2]))}",
    ),
    (re.compile(r"(?:\b|')(\d\d0|\d{3}0|\d0)'?s\b"), _decade),
    (re.compile(r"\b(\d+) (\d{1,2})/(\d{1,2})\b"), _mixed),
    (re.compile(r"\b(\d{1,3})/(\d{1,3})\b"), _fraction),
    (
        re.compile(rf"\b({_N})(\.\d+)?({_UNIT})\b(?!')"),
        lambda m: f"{decimal(m[1] + (m[2] or ''))} {_UNITS[m[3].strip()]}",
    ),
    (re.compile(rf"\b({_N})(?:st|nd|rd|th)\b", re.IGNORECASE), lambda m: ordinal(int(m[1].replace(",", "")))),
    (re.compile(r"#(?=\d)"), "number "),
    (re.compile(r"(?<![\w.])-(?=\d)"), "minus "),
    (re.compile(r"(?<=\d) ?- ?(?=\d)"), " to "),
    (re.compile(rf"(?:{_N})(?:\.\d+)?"), lambda m: f" {_number(m)} "),
    (re.compile(r"\.(?=\d)"), " point "),
    (re.compile(r"\b(?:[A-Za-z]\.){2,}"), _letters),
    (re.compile(r"\b([B-HJ-Z])\.(?= ?[A-Z])"), lambda m: f"{m[1]} "),
]
