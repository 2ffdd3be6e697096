"""From text to phonemes: one entry point for every language."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from shared_models.errors import TextError
from shared_models.text.dictionary import Dictionary
from shared_models.text.english import english_words
from shared_models.text.languages import ENGLISH, MANDARIN, Language
from shared_models.text.mandarin import mandarin_phones
from shared_models.text.normalisation import normalise_english
from shared_models.text.symbols import PAUSES, SILENCE, SILENT, SYMBOL_IDS
from shared_models.text.tokens import split_tokens
from shared_models.text.unspoken import HAN

# Chinese inside English, with the figures and marks that belong to it.
_HAN_RUN = re.compile(rf"(?:\d[\d.]*)?[{HAN}][{HAN}\d，。、；：！？（）…·%％]*")


def phonemize(text: str, language: str = "en", dictionary: Dictionary | None = None) -> list[str]:
    """``text`` as symbols of :mod:`shared_models.text.symbols`, silence at both ends.

    "Hello, you." becomes ``sil h ɛ l ˈoʊ , j ˈu . sil``. English is pronounced as in the United States whatever its
    region, which decides how dates are read. Chinese inside of English is read as Mandarin, and the other way around;
    :func:`shared_models.text.unspoken.unspoken` names what is left out. :class:`Language` says how languages are named.
    Raises :class:`TextError` where nothing in the text can be said, and for a language that no installed phonemizer
    speaks.
    """
    return [SILENCE, *(phone for word in words(text, language, dictionary) for phone in word), SILENCE]


def words(text: str, language: str = "en", dictionary: Dictionary | None = None) -> list[tuple[str, ...]]:
    """The symbols of each word of ``text``, and each pause as a word of its own.

    Only English is divided: in other languages all is one word. Raises :class:`TextError` as :func:`phonemize`.
    """
    if not text.strip():
        raise TextError("there is no text to say; give at least one word")
    spoken = Language.of(language)
    found: list[tuple[str, ...]] = []
    for part in dictionary.divide(text) if dictionary is not None else [text]:
        if isinstance(part, str):
            found += [*(_pause_first(part) if found else []), *_words(part, spoken)]
        else:
            found.append(part)
    if not any(phone not in SILENT for word in found for phone in word):
        shown = text.strip()[:20]
        raise TextError(f"nothing in {shown!r} can be said in language {language!r}; write it in words")
    return found


def encode(symbols: Sequence[str]) -> Tensor:
    """Symbols as ids ``(L,)`` int64; raises :class:`TextError` for one that is not of this project."""
    unknown = next((symbol for symbol in symbols if symbol not in SYMBOL_IDS), None)
    if unknown is not None:
        raise TextError(f"{unknown!r} is not a phoneme of this project; use those of text/symbols.py")
    return torch.tensor([SYMBOL_IDS[symbol] for symbol in symbols], dtype=torch.int64)


def _words(text: str, language: Language) -> list[tuple[str, ...]]:
    if language.code == ENGLISH:
        return _english_words(text, language.day_first)
    if language.code == MANDARIN:
        return [tuple(mandarin_phones(text))]
    from shared_models.text.espeak_phones import espeak_phones

    return [tuple(espeak_phones(text, language.name))]


def _english_words(text: str, day_first: bool) -> list[tuple[str, ...]]:
    """English by words, and each run of Chinese in it as one word."""
    found: list[tuple[str, ...]] = []
    position = 0
    for chinese in _HAN_RUN.finditer(text):
        found += english_words(
            split_tokens(normalise_english(text[position : chinese.start()], day_first=day_first))
        )
        found.append(tuple(mandarin_phones(chinese[0])))
        position = chinese.end()
        found += _pause_first(text[position:])
    return found + english_words(split_tokens(normalise_english(text[position:], day_first=day_first)))


def _pause_first(text: str) -> list[tuple[str, ...]]:
    """The pause that ``text`` begins with, which the normaliser takes from a text of its own."""
    mark = re.match(r"\s*([,.!?;:])(?!\d)", text)
    return [(mark[1] if mark[1] in PAUSES else ",",)] if mark else []
