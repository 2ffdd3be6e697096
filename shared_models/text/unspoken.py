"""What of a text no front end says, so that it is named and not dropped without a word."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from shared_models.text.characters import compatible, without_accents
from shared_models.text.dictionary import Dictionary, Phones
from shared_models.text.languages import ENGLISH, MANDARIN, Language
from shared_models.text.mandarin_pinyin import has_reading
from shared_models.text.normalisation import normalise_english
from shared_models.text.written_mandarin import normalise_mandarin

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_NORMALISERS = {ENGLISH: normalise_english, MANDARIN: normalise_mandarin}


class UnspokenWarning(UserWarning):
    """A part of a text was left out, because no front end says it."""


def unspoken(text: str, language: str = "en", dictionary: Dictionary | None = None) -> tuple[str, ...]:
    """The runs of characters of ``text`` that no front end of ``language`` says, each once, in their order.

    English and Mandarin texts may hold each other's words, and a ``dictionary`` says its own. Of other languages
    espeak-ng says what it can, without telling what that is; for them nothing is named.
    """
    code = Language.of(language).code
    if code not in _NORMALISERS:
        return ()
    written = " ".join(part for part in _parts(text, dictionary) if isinstance(part, str))
    kept = "".join(" " if _is_said(character, code) else character for character in _plain(written))
    return tuple(dict.fromkeys(kept.split()))


def is_said(text: str, language: str, dictionary: Dictionary | None = None) -> bool:
    """Whether anything in ``text`` is said: a letter or figure that is not :func:`unspoken`, or a dictionary's word."""
    missing = set("".join(unspoken(text, language, dictionary)))
    return any(
        not isinstance(part, str) or any(c.isalnum() and c not in missing for c in _plain(part))
        for part in _parts(text, dictionary)
    )


def left_out(missing: tuple[str, ...]) -> str:
    """One sentence about ``missing``."""
    shown = ", ".join(repr(part[:20]) for part in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return f"{shown}{more} cannot be said in this language and is left out; write it in words, or choose its language"


def _parts(text: str, dictionary: Dictionary | None) -> list[str | Phones]:
    return [text] if dictionary is None else dictionary.divide(text)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", without_accents(compatible(text)))


def _is_said(character: str, code: str) -> bool:
    return character.isascii() or _is_mark(character) or _has_words(character, code)


def _is_mark(character: str) -> bool:
    """Spaces and marks of punctuation and accent, which nobody says. Emoji and other pictures are none of them."""
    category = unicodedata.category(character)
    return category[0] in "ZMP" or category in {"Cc", "Cf", "Cs"}


@lru_cache(maxsize=10_000)
def _has_words(character: str, code: str) -> bool:
    """Whether the front end of a language makes words of a character."""
    if re.match(f"[{HAN}]", character):
        return has_reading(character)
    return re.search(f"[A-Za-z{HAN}]", _NORMALISERS[code](character)) is not None
