"""English text as it is read aloud: numbers, money, dates, abbreviations and letters in words.

In the result every word is in lower case, except that a single capital letter stands for its name:
"F B I". The only marks left are ``, . ? !`` and the apostrophe. The classes are in
:mod:`shared_models.text.written_english`.
"""

from __future__ import annotations

import re
import unicodedata

from shared_models.text.characters import canonical, join_pauses, without_accents
from shared_models.text.numbers import decimal
from shared_models.text.written_english import english_rules
from shared_models.text.written_english.money import SIGNS_ALONE
from shared_models.text.written_english.quantities import SYMBOLS
from shared_models.text.written_english.roman import roman_value
from shared_models.text.written_english.rules import apply

SIGNS = {
    "&": " and ", "%": " percent", "+": " plus ", "=": " equals ", "@": " at ", "°": " degrees ",
    "/": " ", "_": " ", "*": " ", "~": " about ", "©": " copyright ", "®": " registered ",
    "<": " less than ", ">": " greater than ", **SIGNS_ALONE, **SYMBOLS,
}  # fmt: skip
_SPELLED_THOUGH_WORDS = frozenset(
    {
        "US",
        "AM",
        "PM",
        "IT",
        "ID",
        "UN",
        "EU",
        "UK",
        "AI",
        "IP",
        "AC",
        "DC",
        "OS",
        "UI",
        "HR",
        "PR",
        "ER",
        "IQ",
        "TV",
        "PA",
        "LED",
        "ETA",
        "PE",
        "EV",
    }
)
_ROMAN_SIGNS = re.compile("(?<![A-Za-z] )[\u2160-\u217f]+")
_LONG_FIGURES = re.compile(r"(?:(?<!\d)\d{1,15}\.)?\d{16,}")
"""Read figure by figure, before any rule has to look at each part of them."""
_VOWEL = re.compile(r"[AEIOUY]")


def normalise_english(text: str, *, day_first: bool = False) -> str:
    """``text`` in words, for instance "Dr. Li paid $3.50" as "doctor li paid three dollars fifty cents".

    Text without a single lower-case letter (the transcripts of LibriSpeech) is taken for a transcript in
    capitals, not for acronyms. ``day_first`` reads 5/6 as the fifth of June, as outside of the United States.
    Characters that no English word is made of are dropped (:func:`shared_models.text.phonemes.unspoken` names
    them), so that the result may be empty.
    """
    text = canonical(_ROMAN_SIGNS.sub(_roman_sign, text))
    if _all_capitals(text):
        text = text.lower()
    text = _LONG_FIGURES.sub(lambda m: f" {decimal(m[0])} ", text)
    text = apply(english_rules(day_first), text)
    text = "".join(SIGNS.get(c, c) for c in text)
    text = re.sub(r"\s-+\s|--+|[;:()\[\]{}]", " , ", without_accents(text))
    text = re.sub(r"[^A-Za-z',.?!\s]", " ", text)
    text = " ".join(_cased(word) for word in text.split())
    return join_pauses(text)


def _roman_sign(match: re.Match[str]) -> str:
    """Unicode's own numerals are numerals, whatever is beside them; behind a word they follow its rules."""
    return str(roman_value(unicodedata.normalize("NFKC", match[0])))


def _all_capitals(text: str) -> bool:
    words = re.findall(r"[^\W\d_]+", text)
    # Figures are in no transcript of that kind, and "44 BC" is an abbreviation.
    enough = 4 if any(c.isdigit() for c in text) else 2
    return len(words) >= enough and not any(c.islower() for c in text)


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
