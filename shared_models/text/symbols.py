"""The symbols that the acoustic model reads: phones of the IPA, pauses and silence.

Every symbol sounds for a time of its own, so that each can have a duration: stress is part of its vowel
(``ˈoʊ``), a tone is part of its nucleus (``au̯˥˩``), and word boundaries are no symbols.
"""

from __future__ import annotations

PADDING = "_"
SILENCE = "sil"
PAUSES = (",", ".", "?", "!")
"""Punctuation that a speaker may pause at. Its duration may be 0."""

STRESSES = ("", "ˈ", "ˌ")

ENGLISH_VOWELS = (
    "ə", "ɚ", "i", "ɪ", "ɛ", "æ", "ɑ", "ɔ", "ʌ", "ʊ", "u", "eɪ", "aɪ", "ɔɪ", "aʊ", "oʊ",
)  # fmt: skip
ENGLISH_CONSONANTS = (
    "p", "b", "t", "d", "k", "ɡ", "t͡ʃ", "d͡ʒ", "f", "v", "θ", "ð", "s", "z", "ʃ", "ʒ", "h",
    "m", "n", "ŋ", "l", "ɹ", "w", "j",
)  # fmt: skip

TONES = ("˥", "˧˥", "˨˩˦", "˥˩", "˧")
"""Mandarin's four tones as Chao's tone letters, and the neutral tone."""

MANDARIN_NUCLEI = (
    "a", "ɑ", "o", "ɤ", "ə", "ɛ", "i", "u", "y", "ʊ", "ɹ̩", "ɻ̩", "aɚ",
    "ai̯", "ei̯", "au̯", "ou̯",
)  # fmt: skip
MANDARIN_CONSONANTS = (
    "pʰ", "tʰ", "kʰ", "x", "t͡ɕ", "t͡ɕʰ", "ɕ", "ʈ͡ʂ", "ʈ͡ʂʰ", "ʂ", "ɻ", "t͡s", "t͡sʰ", "ɥ",
)  # fmt: skip
"""Those that Mandarin does not share with English."""

OTHER_VOWELS = ("a", "e", "o", "y", "ø", "œ", "ɐ", "ɒ", "ɜ", "ɤ", "ɨ", "ʉ", "ɯ", "ɑ̃", "ɛ̃", "ɔ̃", "œ̃")
"""Vowels of languages that espeak-ng speaks and that English lacks."""
OTHER_CONSONANTS = (
    "r", "ɾ", "ʁ", "ʀ", "ɲ", "ʎ", "ç", "ʝ", "ɣ", "χ", "ħ", "ʕ", "β", "ɸ", "ʔ", "c", "ɟ", "q",
    "ʋ", "ɬ", "ɫ", "ɳ", "ʈ", "ɖ", "ɭ", "ʐ", "ʑ", "d͡z", "d͡ʑ", "p͡f",
)  # fmt: skip

SYMBOLS: tuple[str, ...] = (
    PADDING,
    SILENCE,
    *PAUSES,
    *ENGLISH_CONSONANTS,
    *(stress + vowel for vowel in ENGLISH_VOWELS for stress in STRESSES),
    *MANDARIN_CONSONANTS,
    *(nucleus + tone for nucleus in MANDARIN_NUCLEI for tone in TONES),
    *OTHER_CONSONANTS,
    *(stress + vowel for vowel in OTHER_VOWELS for stress in STRESSES),
)
"""All symbols in the order of their ids. New ones go to the end: the order is part of a checkpoint."""

SYMBOL_IDS: dict[str, int] = {symbol: index for index, symbol in enumerate(SYMBOLS)}
VOCABULARY_SIZE = len(SYMBOLS)
SILENT = frozenset({PADDING, SILENCE, *PAUSES})
"""Symbols without sound."""
