"""What of a text no front end says, so that it is named and not dropped without a word."""

from __future__ import annotations

import re
import unicodedata

from shared_models.text.characters import canonical, without_accents
from shared_models.text.languages import ENGLISH, MANDARIN, Language
from shared_models.text.mandarin_pinyin import has_reading
from shared_models.text.normalisation import SIGNS
from shared_models.text.written_mandarin_tables import CURRENCIES
from shared_models.text.written_mandarin_tables import SIGNS as MANDARIN_SIGNS

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_NAMED = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Sm", "Sc"})
"""Letters and the signs of mathematics and money. Emoji and other pictures say nothing aloud, and are not named."""


class UnspokenWarning(UserWarning):
    """A part of a text was left out, because no front end says it."""


def unspoken(text: str, language: str = "en") -> tuple[str, ...]:
    """The runs of characters of ``text`` that no front end of ``language`` says, each once, in their order.

    English and Mandarin texts may hold each other's words. Of other languages espeak-ng says what it can, without
    telling what that is; for them nothing is named.
    """
    code = Language.of(language).code
    if code not in {ENGLISH, MANDARIN}:
        return ()
    plain = unicodedata.normalize("NFC", without_accents(canonical(text)))
    kept = "".join(" " if _is_said(character) else character for character in plain)
    return tuple(dict.fromkeys(kept.split()))


def is_said(text: str, language: str) -> bool:
    """Whether anything in ``text`` is said: a letter or a figure that is not :func:`unspoken`."""
    missing = set("".join(unspoken(text, language)))
    plain = unicodedata.normalize("NFC", without_accents(canonical(text)))
    return any(c.isalnum() and c not in missing for c in plain)


def left_out(missing: tuple[str, ...]) -> str:
    """One sentence about ``missing``."""
    shown = ", ".join(repr(part[:20]) for part in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return f"{shown}{more} cannot be said in this language and is left out; write it in words, or choose its language"


def _is_said(character: str) -> bool:
    if character.isascii() or unicodedata.category(character) not in _NAMED:
        return True
    if re.match(f"[{HAN}]", character):
        return has_reading(character)
    return (
        character in SIGNS
        or ord(character) in MANDARIN_SIGNS
        or character in CURRENCIES
        or character in "₺₴₪₱₦₵₡₸"
    )
