"""Phones of the languages that espeak-ng speaks, in the project's symbols."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from shared_models.errors import MissingExtraError, TextError
from shared_models.text.characters import canonical
from shared_models.text.espeak_library import Espeak, load_espeak
from shared_models.text.symbols import (
    ENGLISH_CONSONANTS,
    ENGLISH_VOWELS,
    MANDARIN_CONSONANTS,
    OTHER_CONSONANTS,
    OTHER_VOWELS,
    PAUSES,
)

_VOWELS = frozenset(ENGLISH_VOWELS + OTHER_VOWELS)
_CONSONANTS = frozenset(ENGLISH_CONSONANTS + MANDARIN_CONSONANTS + OTHER_CONSONANTS)
_PAUSES = {";": ",", ":": ",", "，": ",", "。": ".", "！": "!", "？": "?"}
# A mark inside a word or number (3.5, o'clock) ends no clause.
_CLAUSE = re.compile(r"(.+?)(?:([,;:.!?。，！？]+)(?=\s|$|[^\x00-\x7f])|$)")
_LONGEST = max(map(len, _VOWELS | _CONSONANTS))

_REWRITTEN = {
    "tʃ": "t͡ʃ", "dʒ": "d͡ʒ", "ts": "t͡s", "dz": "d͡z", "tɕ": "t͡ɕ", "dʑ": "d͡ʑ", "ʈʂ": "ʈ͡ʂ", "pf": "p͡f",
    "g": "ɡ", "ᵻ": "ɪ", "ɘ": "ə", "ɵ": "ʉ", "ɝ": "ɚ", "ɧ": "ʃ", "ɱ": "m", "ɴ": "ŋ", "ɦ": "h", "ʌ̃": "ɐ",
    "ʏ": "y", "ɺ": "ɾ", "ɽ": "ɾ", "ɻ": "ɹ", "ɓ": "b", "ɗ": "d", "ɠ": "ɡ", "ʄ": "ɟ", "ɮ": "l", "ʟ": "l",
}  # fmt: skip
_ENGLISH = {
    "ɐ": "ə", "ɜː": "ɚ", "ɜ": "ɚ", "ɔː": "ɔ", "oː": "ɔ", "ɒ": "ɔ", "a": "æ", "ʔ": "t", "ɾ": "t", "r": "ɹ",
    "ɫ": "l", "n̩": "ən", "l̩": "əl", "m̩": "əm", "əʊ": "oʊ", "e": "ɛ",
}  # fmt: skip
"""How espeak-ng's English differs from the dictionary's: flaps, syllabic consonants, long vowels."""
_ENGLISH_FORMS = re.compile("|".join(sorted(_ENGLISH, key=len, reverse=True)))
_DIPHTHONGS = re.compile("aɪ|aʊ|eɪ|oʊ|ɔɪ")
_FORMS = re.compile("|".join(sorted(_REWRITTEN, key=len, reverse=True)))


def espeak_phones(text: str, language: str) -> list[str]:
    """The phones of ``text`` with its pauses.

    Raises :class:`TextError` where the extra ``espeak`` is missing or does not speak the language.
    """
    try:
        library = load_espeak()
        voice = _voice(library, language)
        return _with_pauses(canonical(text), lambda clause: library.phonemes(clause, voice))
    except MissingExtraError as error:
        raise TextError(
            f"no phonemizer for language {language!r}: install the extra with pip install "
            "'fedvoice[espeak]', or use en or zh"
        ) from error
    except TextError as error:
        raise TextError(f"no phonemizer for language {language!r}: {error}, or use en or zh") from error


def _voice(library: Espeak, language: str) -> str:
    """``language``, or without its region where espeak-ng has no voice of that region: de for de-AT."""
    try:
        library.phonemes("", language)
    except TextError:
        main = language.partition("-")[0]
        if main == language:
            raise
        library.phonemes("", main)
        return main
    return language


@lru_cache(maxsize=4096)
def to_symbols(ipa: str, *, english: bool = False) -> tuple[str, ...]:
    """Symbols of one IPA phoneme as espeak-ng writes it, such as ``ˈaɪɚ``: ``ˈaɪ ɚ``.

    Length and secondary articulation, which no symbol has, are dropped; so are characters without a
    symbol. ``english`` maps to the inventory of the English dictionary.
    """
    ipa = unicodedata.normalize("NFC", ipa)
    stress = next((mark for mark in "ˈˌ" if mark in ipa), "")
    ipa = ipa.replace("ˈ", "").replace("ˌ", "")
    if english:
        ipa = _english(ipa)
    ipa = _FORMS.sub(lambda m: _REWRITTEN[m[0]], ipa.replace("͡", ""))
    symbols = []
    while ipa:
        size = next((n for n in range(_LONGEST, 0, -1) if ipa[:n] in _VOWELS or ipa[:n] in _CONSONANTS), 0)
        symbol = ipa[:size] if size else unicodedata.normalize("NFD", ipa[0])[0]
        ipa = ipa[size or 1 :]
        if symbol in _VOWELS:
            symbols.append(stress + symbol)
            stress = ""
        elif symbol in _CONSONANTS:
            symbols.append(symbol)
    return tuple(symbols)


def _english(ipa: str) -> str:
    """Rewrite outside of diphthongs, whose first vowel is another one when it stands alone."""
    parts = _DIPHTHONGS.split(ipa)
    kept = [*_DIPHTHONGS.findall(ipa), ""]
    pairs = zip(parts, kept, strict=True)
    return "".join(
        _ENGLISH_FORMS.sub(lambda m: _ENGLISH[m[0]], part) + diphthong for part, diphthong in pairs
    )


def _with_pauses(text: str, phonemes_of: Callable[[str], list[list[str]]]) -> list[str]:
    """espeak-ng drops punctuation, so the text is cut there first."""
    phones: list[str] = []
    for clause, mark in _CLAUSE.findall(text):
        spoken = [s for part in phonemes_of(clause) for ipa in part for s in to_symbols(ipa)]
        phones.extend(spoken)
        if mark and phones and phones[-1] not in PAUSES:
            phones.append(_PAUSES.get(mark[-1], mark[-1]))
    return phones
