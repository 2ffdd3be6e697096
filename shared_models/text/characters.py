"""Unicode before anything else: one form for quotes, dashes, ligatures, accents and pauses."""

from __future__ import annotations

import re
import unicodedata
from re import Match

_NO_DECOMPOSITION = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "th", "þ": "th", "ı": "i"}
    | {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"}
)
_FORMS = str.maketrans(
    dict.fromkeys("’‘ʼ′`´", "'")
    | dict.fromkeys("“”„«»″", '"')
    | dict.fromkeys("‐‑", "-")
    | dict.fromkeys("–—―−‒", " - ")
    | {
        "…": "...",
        "º": "°",
        "㎡": "m²",
        "㎥": "m³",
        "㎢": "km²",
        "㎤": "cm³",
        "㎠": "cm²",
        "㎟": "mm²",
        "㎣": "mm³",
    }
)
# What compatibility forms would fuse with the figures beside it: 2⅔ is not 22/3, 10² not 102.
_VULGAR = re.compile(r"(?:(\d) ?)?([¼-¾⅐-⅞↉])")
_RAISED = re.compile(r"(?<=[\w)])([⁺⁻]?[⁰¹²³⁴-⁹]+)")
_SPAN = re.compile(r"(?<=[\w%°])[–—―‒](?=[\d$£€¥])|−(?=[\d.$£€])")
_THIN_GROUPS = re.compile(r"(?<=\d)[\u2009\u202f](?=\d{3})")
_UNSPOKEN = frozenset({"Cc", "Co", "Cn", "Cs", "So", "Sk"})
_RANK = {",": 0, ".": 1, "!": 2, "?": 3}


def canonical(text: str) -> str:
    """``text`` in compatibility form, with plain quotes and dashes and without control characters."""
    # Emoji, symbols of private use, control and zero-width characters say nothing aloud.
    return " ".join("".join(map(_spoken, compatible(text))).split())


def compatible(text: str) -> str:
    """``text`` in compatibility form, with plain quotes and dashes, and with all that says nothing aloud."""
    text = _THIN_GROUPS.sub(",", _SPAN.sub("-", text)).translate(_FORMS)
    text = _RAISED.sub(_exponent, _VULGAR.sub(_fraction, text))
    return unicodedata.normalize("NFKC", text).translate(_FORMS)


def _fraction(match: Match[str]) -> str:
    parts = unicodedata.normalize("NFKC", match[2]).replace("\u2044", "/")
    return f"{match[1]} {parts}" if match[1] else parts


def _exponent(match: Match[str]) -> str:
    return "^" + unicodedata.normalize("NFKC", match[1]).replace("\u2212", "-").lstrip("+")


def _spoken(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":  # joiners and soft hyphens, which stand inside words
        return ""
    return " " if category in _UNSPOKEN and character not in "°^©®" else character


def without_accents(text: str) -> str:
    """``café`` as ``cafe``: what an English dictionary is asked for."""
    decomposed = unicodedata.normalize("NFD", text.translate(_NO_DECOMPOSITION))
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


def join_pauses(text: str) -> str:
    """One pause where several meet (the strongest wins), none at the start, and single spaces."""
    text = re.sub(
        r"[,.!?](?:\s*[,.!?])+", lambda m: max((c for c in m[0] if c in _RANK), key=_RANK.__getitem__), text
    )
    text = re.sub(r"\s*([,.!?])\s*", r"\1 ", text)
    return " ".join(re.sub(r"^[,.!?\s]+", "", text).split())
