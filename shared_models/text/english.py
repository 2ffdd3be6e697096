"""English words as phones: gruut's US dictionary, its grapheme-to-phoneme model, and a few rules.

gruut (MIT) brings the data: a lexicon of 124,000 words after CMUdict, two CRF models. Its own pipeline
searches the lexicon without an index (10 ms a word) and rebuilds a graph a sentence; reading the lexicon
once, at 0.3 s, makes a sentence cost well under a millisecond.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, Protocol

from shared_models.errors import TextError
from shared_models.text.symbols import PAUSES, SYMBOL_IDS

Phones = tuple[str, ...]

_LETTERS = {"a": "ˈeɪ", "w": "d ˈʌ b ə l j u", "z": "z ˈi"}
"""Names of letters that the lexicon lacks or takes for a word."""
_INTERJECTIONS = {"shh": "ʃ", "sh": "ʃ", "psst": "p s t", "brr": "b ɹ ˈɚ", "mm": "m", "mmm": "m", "hm": "h m"}
_SIBILANTS = frozenset({"s", "z", "ʃ", "ʒ", "t͡ʃ", "d͡ʒ"})
_VOICELESS = frozenset({"p", "t", "k", "f", "θ"})
_VOWEL_LETTERS = frozenset("aeiouɑɔəɚɛæɪʊʌ")


class _Lexicon(NamedTuple):
    usual: dict[str, str]
    """The first pronunciation of a word, phones separated by spaces."""
    by_role: dict[tuple[str, str], str]
    """Pronunciations of a word as a part of speech, such as ``("read", "VBD")``."""
    homographs: frozenset[str]


class _Tagger(Protocol):
    def __call__(self, words: Sequence[str]) -> Sequence[str]: ...


def english_phones(tokens: Sequence[str]) -> list[str]:
    """The phones of normalised words and pauses, in order. A word that nobody can say gives no phones."""
    return [phone for word in english_words(tokens) for phone in word]


def english_words(tokens: Sequence[str]) -> list[Phones]:
    """The phones of each token, in order; none for a word that nobody can say."""
    roles = _roles(tokens)
    words: list[Phones] = []
    following = ""
    # Backwards, because "the" depends on the sound that follows.
    for token, role in zip(reversed(tokens), reversed(roles), strict=True):
        spoken = (token,) if token in PAUSES else word_phones(token, role)
        if token == "the" and following and following.lstrip("ˈˌ")[0] in _VOWEL_LETTERS:
            spoken = ("ð", "i")
        words.append(spoken)
        following = spoken[0] if spoken else following
    return words[::-1]


def in_dictionary(word: str) -> bool:
    """Whether the lexicon holds ``word`` (in lower case)."""
    return word in _lexicon().usual


@lru_cache(maxsize=50_000)
def word_phones(word: str, role: str = "") -> Phones:
    """The phones of one word; a single capital letter is read by its name. ``role``: NN, VB, VBD, JJ..."""
    lexicon = _lexicon()
    if len(word.removesuffix("'s")) == 1 and word[0].isupper():
        return _with_s(_letter(word[0].lower())) if word.endswith("'s") else _letter(word.lower())
    found = lexicon.by_role.get((word, role)) or lexicon.usual.get(word) or _INTERJECTIONS.get(word)
    if found is not None:
        return _known(found.split())
    bare = word.strip("'")
    if bare != word:
        return word_phones(bare, role) if bare else ()
    stem, _, ending = word.rpartition("'")
    if stem and ending == "s":
        return _with_s(word_phones(stem))
    if "'" in word:
        return tuple(phone for part in word.split("'") for phone in word_phones(part))
    if not any(letter in "aeiouy" for letter in word) and len(word) <= 5:
        return tuple(phone for letter in word for phone in _letter(letter))
    return _guess(word)


def _letter(letter: str) -> Phones:
    return _known((_LETTERS.get(letter) or _lexicon().usual.get(letter, "")).split())


def _with_s(phones: Phones) -> Phones:
    """The possessive: "Ross's", "Kant's", "Hegel's"."""
    last = phones[-1] if phones else ""
    if last in _SIBILANTS:
        return (*phones, "ɪ", "z")
    return (*phones, "s" if last in _VOICELESS else "z")


def _known(phones: Sequence[str]) -> Phones:
    return tuple(phone for phone in phones if phone in SYMBOL_IDS)


def _guess(word: str) -> Phones:
    return _known(_grapheme_model()(word))


def _roles(tokens: Sequence[str]) -> list[str]:
    """The part of speech of every token; found only where it makes a difference to some word's sound."""
    if not any(token in _lexicon().homographs for token in tokens):
        return [""] * len(tokens)
    return [_coarse(token, tag) for token, tag in zip(tokens, _tagger()(list(tokens)), strict=True)]


def _coarse(word: str, tag: str) -> str:
    """Penn Treebank's tag as the lexicon knows it: a participle sounds like the past ("had read")."""
    by_role = _lexicon().by_role
    if tag in {"VBN", "VBD"} and (word, "VBD") in by_role:
        return "VBD"
    return next((coarse for coarse in ("NN", "VB", "JJ", "RB") if tag.startswith(coarse)), tag)


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    path = _data() / "lexicon.db"
    query = "SELECT word, role, phonemes FROM word_phonemes ORDER BY word, pron_order"
    usual: dict[str, str] = {}
    by_role: dict[tuple[str, str], str] = {}
    try:
        with sqlite3.connect(path.resolve().as_uri() + "?mode=ro", uri=True) as connection:
            for word, role, phonemes in connection.execute(query):
                usual.setdefault(word, phonemes)
                if role:
                    by_role.setdefault((word, role.removeprefix("gruut:")), phonemes)
    except sqlite3.Error as error:
        raise TextError(
            f"the English dictionary {path} cannot be read ({error}); reinstall the package gruut-lang-en"
        ) from error
    homographs = {word for word, _ in by_role} - {"a", "the"}
    return _Lexicon(usual, by_role, frozenset(homographs))


@lru_cache(maxsize=1)
def _tagger() -> _Tagger:
    from gruut.pos import PartOfSpeechTagger

    tagger: _Tagger = PartOfSpeechTagger(str(_data() / "pos" / "model.crf"))
    return tagger


@lru_cache(maxsize=1)
def _grapheme_model() -> _Tagger:
    from gruut.g2p import GraphemesToPhonemes

    model: _Tagger = GraphemesToPhonemes(str(_data() / "g2p" / "model.crf"))
    return model


def _data() -> Path:
    return Path(str(files("gruut_lang_en")))
