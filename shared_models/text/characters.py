"""Unicode before anything else: one form for quotes, dashes, ligatures, accents and pauses."""

from __future__ import annotations

import re
import unicodedata

_NO_DECOMPOSITION = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "th", "þ": "th", "ı": "i"}
    | {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"}
)
_FORMS = str.maketrans(
    dict.fromkeys("’‘ʼ′`´", "'")
    | dict.fromkeys("“”„«»″", '"')
    | dict.fromkeys("‐‑", "-")
    | dict.fromkeys("–—―−", " - ")
    | {"…": "...", "²": " squared ", "³": " cubed ", "¼": " 1/4", "½": " 1/2", "¾": " 3/4"}
)
_UNSPOKEN = frozenset({"Cc", "Co", "Cn", "Cs", "So", "Sk"})
_RANK = {",": 0, ".": 1, "!": 2, "?": 3}


def canonical(text: str) -> str:
    """``text`` in compatibility form, with plain quotes and dashes and without control characters."""
    text = unicodedata.normalize("NFKC", text.translate(_FORMS)).translate(_FORMS)
    # Emoji, symbols of private use, control and zero-width characters say nothing aloud.
    return " ".join("".join(map(_spoken, text)).split())


def _spoken(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":  # joiners and soft hyphens, which stand inside words
        return ""
    return " " if category in _UNSPOKEN and character != "°" else character


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
