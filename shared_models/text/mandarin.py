"""Mandarin as phones: characters to pinyin by pypinyin (MIT), pinyin to IPA by the table below.

A syllable is initial, glide, nucleus with the tone, and nasal coda: 中 ``zhong1`` is ``ʈ͡ʂ ʊ˥ ŋ``. The
values follow Lee and Zee, "Standard Chinese (Beijing)", Journal of the IPA 33 (2003).
"""

from __future__ import annotations

import re
import unicodedata

from shared_models.text.english import english_phones
from shared_models.text.mandarin_pinyin import spoken_pinyin, third_tones
from shared_models.text.normalisation import normalise_english
from shared_models.text.symbols import PAUSES, TONES
from shared_models.text.tokens import split_tokens
from shared_models.text.written_mandarin import normalise_mandarin

_INITIALS = {
    "b": "p", "p": "pʰ", "m": "m", "f": "f", "d": "t", "t": "tʰ", "n": "n", "l": "l", "g": "k", "k": "kʰ",
    "h": "x", "j": "t͡ɕ", "q": "t͡ɕʰ", "x": "ɕ", "zh": "ʈ͡ʂ", "ch": "ʈ͡ʂʰ", "sh": "ʂ", "r": "ɻ", "z": "t͡s",
    "c": "t͡sʰ", "s": "s", "": "",
}  # fmt: skip
# Final: glide, nucleus, coda.
_FINALS = {
    "a": ("", "a", ""), "o": ("w", "o", ""), "e": ("", "ɤ", ""), "ê": ("", "ɛ", ""),
    "ai": ("", "ai̯", ""), "ei": ("", "ei̯", ""), "ao": ("", "au̯", ""), "ou": ("", "ou̯", ""),
    "an": ("", "a", "n"), "en": ("", "ə", "n"), "ang": ("", "ɑ", "ŋ"), "eng": ("", "ə", "ŋ"),
    "ong": ("", "ʊ", "ŋ"), "er": ("", "aɚ", ""),
    "i": ("", "i", ""), "ia": ("j", "a", ""), "ie": ("j", "ɛ", ""), "iao": ("j", "au̯", ""),
    "iou": ("j", "ou̯", ""), "ian": ("j", "ɛ", "n"), "in": ("", "i", "n"), "iang": ("j", "ɑ", "ŋ"),
    "ing": ("", "i", "ŋ"), "iong": ("j", "ʊ", "ŋ"), "io": ("j", "o", ""),
    "u": ("", "u", ""), "ua": ("w", "a", ""), "uo": ("w", "o", ""), "uai": ("w", "ai̯", ""),
    "uei": ("w", "ei̯", ""), "uan": ("w", "a", "n"), "uen": ("w", "ə", "n"), "uang": ("w", "ɑ", "ŋ"),
    "ueng": ("w", "ə", "ŋ"),
    "ü": ("", "y", ""), "üe": ("ɥ", "ɛ", ""), "üan": ("ɥ", "ɛ", "n"), "ün": ("", "y", "n"),
    "m": ("", "ə", "m"), "n": ("", "ə", "n"), "ng": ("", "ə", "ŋ"),
}  # fmt: skip
_NASALS = frozenset({"m", "n", "ng"})
"""Finals of interjections such as 嗯, where pypinyin sees none."""
_APICAL = {"zh": "ɻ̩", "ch": "ɻ̩", "sh": "ɻ̩", "r": "ɻ̩", "z": "ɹ̩", "c": "ɹ̩", "s": "ɹ̩"}
"""The vowel that pinyin writes ``i`` after these initials."""

_COLOURED = {"a": "a", "ai̯": "a", "ɑ": "ɑ", "ɛ": "a", "ei̯": "ə"}
"""Nuclei before the ɻ of 儿, which takes the place of i, n and ng: 点儿 is ``t j a ɻ``."""
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\u3007\U00020000-\U0003ffff"
_PINYIN = r"[A-Za-züÜ]*[āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜĀÁǍÀĒÉĚÈŌÓǑÒ][A-Za-züÜāáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜ]*"
_RUN = re.compile(rf"[{_HAN}]+|[,.!?]|{_PINYIN}|[A-Za-z][A-Za-z' .-]*[A-Za-z]|[A-Za-z]")
_SPELLED = re.compile(rf"{_PINYIN}(?: {_PINYIN})*")


def mandarin_phones(text: str) -> list[str]:
    """The phones of Mandarin text, with pauses. Pinyin with its tones is read as such, other Latin words as English."""
    # Accents survive neither the normaliser nor the English rules.
    text = unicodedata.normalize("NFC", text)
    phones: list[str] = []
    position = 0
    for spelled in _SPELLED.finditer(text):
        phones += _runs(text[position : spelled.start()])
        phones += _spelled_phones(spelled[0])
        position = spelled.end()
    return phones + _runs(text[position:])


def _runs(text: str) -> list[str]:
    phones: list[str] = []
    for run in _RUN.findall(normalise_mandarin(text)):
        if run in PAUSES:
            phones.append(run)
        elif run[0].isascii():
            phones.extend(english_phones(split_tokens(normalise_english(run))))
        else:
            phones.extend(p for _, syllable in spoken_pinyin(run) for p in pinyin_phones(syllable))
    return phones


def _spelled_phones(text: str) -> list[str]:
    """Pinyin with tone marks; a word that is none, such as café, is English."""
    from pypinyin.contrib.tone_convert import to_tone3

    words = text.split()
    phones: list[str] = []
    numbered = [to_tone3(word.lower(), neutral_tone_with_five=True, v_to_u=True) for word in words]
    for word, syllable in zip(words, third_tones(numbered), strict=True):
        phones += pinyin_phones(syllable) or english_phones(split_tokens(normalise_english(word)))
    return phones


def pinyin_phones(syllable: str) -> list[str]:
    """Phones of a numbered pinyin syllable such as ``zhong1``, ``lü4`` or ``dianr3``; none for an unknown one.

    >>> pinyin_phones("zhong1")
    ['ʈ͡ʂ', 'ʊ˥', 'ŋ']
    """
    from pypinyin.contrib.tone_convert import to_finals, to_initials

    tone = syllable[-1:] if syllable[-1:] in "12345" else "5"
    letters = syllable.rstrip("012345").replace("v", "ü").replace("u:", "ü")
    coloured = letters.endswith("r") and letters != "er"
    letters = letters.removesuffix("r") if coloured else letters
    if letters.removeprefix("h") in _NASALS:
        initial, final = letters[: letters.startswith("h")], letters.removeprefix("h")
    else:
        initial, final = to_initials(letters, strict=True), to_finals(letters, strict=True, v_to_u=True)
    if final not in _FINALS or initial not in _INITIALS:
        return []
    glide, nucleus, coda = _FINALS[final]
    if final == "i" and initial in _APICAL:
        nucleus = _APICAL[initial]
    if coloured:
        glide, nucleus, coda = _with_er(glide, nucleus, coda)
    sounds = [_INITIALS[initial], glide, nucleus + TONES[int(tone) - 1], coda]
    return [sound for sound in sounds if sound]


def _with_er(glide: str, nucleus: str, coda: str) -> tuple[str, str, str]:
    """A final with the r of 儿, which stands for i, n and ng behind a vowel, and wants a vowel before it."""
    if nucleus in {"i", "y", "ɹ̩", "ɻ̩"}:
        return {"i": "j", "y": "ɥ"}.get(nucleus, glide), "ə", "ɻ"
    if coda == "ŋ":
        return glide, nucleus, "ɻ"
    return glide, _COLOURED.get(nucleus, nucleus) if coda == "n" or nucleus.endswith("i̯") else nucleus, "ɻ"
