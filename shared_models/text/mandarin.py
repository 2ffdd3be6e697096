"""Mandarin as phones: characters to pinyin by pypinyin (MIT), pinyin to IPA by the table below.

A syllable is initial, glide, nucleus with the tone, and nasal coda: 中 ``zhong1`` is ``ʈ͡ʂ ʊ˥ ŋ``. The
values follow Lee and Zee, "Standard Chinese (Beijing)", Journal of the IPA 33 (2003).
"""

from __future__ import annotations

import re
from re import Match

from shared_models.text.characters import canonical, join_pauses
from shared_models.text.english import english_phones
from shared_models.text.normalisation import normalise_english
from shared_models.text.numbers import han_cardinal, han_decimal, han_digits
from shared_models.text.symbols import PAUSES, TONES
from shared_models.text.tokens import split_tokens
from shared_models.text.written_english.rules import Spoken

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
_DOUBLED = frozenset("妈爸爷奶哥姐弟妹叔舅姑婶嫂")
"""Said twice, the second time in the neutral tone: 妈妈 is ``ma1 ma5``."""
_APICAL = {"zh": "ɻ̩", "ch": "ɻ̩", "sh": "ɻ̩", "r": "ɻ̩", "z": "ɹ̩", "c": "ɹ̩", "s": "ɹ̩"}
"""The vowel that pinyin writes ``i`` after these initials."""

_PAUSES = str.maketrans(
    dict.fromkeys("，、；：;:()（）《》【】—", ",") | dict.fromkeys("。．", ".") | {"！": "!", "？": "?"}
)
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\u3007"
_RUN = re.compile(rf"[{_HAN}]+|[,.!?]|[A-Za-z][A-Za-z' .-]*[A-Za-z]|[A-Za-z]")


def mandarin_phones(text: str) -> list[str]:
    """The phones of Mandarin text, with pauses. Words in Latin letters are read as English."""
    phones: list[str] = []
    for run in _RUN.findall(normalise_mandarin(text)):
        if run in PAUSES:
            phones.append(run)
        elif run[0].isascii():
            phones.extend(english_phones(split_tokens(normalise_english(run))))
        else:
            phones.extend(_han_phones(run))
    return phones


def normalise_mandarin(text: str) -> str:
    """``text`` with numbers in characters (3.5% is 百分之三点五) and the marks ``, . ? !`` only."""
    text = canonical(text.translate(_PAUSES)).translate(_PAUSES)
    for pattern, spoken in _RULES:
        text = pattern.sub(spoken, text)
    return join_pauses(text)


def pinyin_phones(syllable: str) -> list[str]:
    """Phones of a numbered pinyin syllable such as ``zhong1`` or ``lü4``; none for an unknown one.

    >>> pinyin_phones("zhong1")
    ['ʈ͡ʂ', 'ʊ˥', 'ŋ']
    """
    from pypinyin.contrib.tone_convert import to_finals, to_initials

    tone = syllable[-1:] if syllable[-1:] in "12345" else "5"
    letters = syllable.rstrip("012345").replace("v", "ü").replace("u:", "ü")
    if letters.removeprefix("h") in _NASALS:
        initial, final = letters[: letters.startswith("h")], letters.removeprefix("h")
    else:
        initial, final = to_initials(letters, strict=True), to_finals(letters, strict=True, v_to_u=True)
    if final not in _FINALS or initial not in _INITIALS:
        return []
    glide, nucleus, coda = _FINALS[final]
    if final == "i" and initial in _APICAL:
        nucleus = _APICAL[initial]
    sounds = [_INITIALS[initial], glide, nucleus + TONES[int(tone) - 1], coda]
    return [sound for sound in sounds if sound]


def _han_phones(characters: str) -> list[str]:
    from pypinyin import Style, lazy_pinyin

    # 〇 is a digit that pypinyin has no reading for.
    characters = characters.replace("〇", "零")
    syllables = lazy_pinyin(
        characters,
        style=Style.TONE3,
        neutral_tone_with_five=True,
        tone_sandhi=True,
        errors="ignore",
    )
    if len(syllables) == len(characters):
        syllables = _neutral_tones(characters, syllables)
    return [phone for syllable in _third_tones(syllables) for phone in pinyin_phones(syllable)]


def _neutral_tones(characters: str, syllables: list[str]) -> list[str]:
    before = ["", *characters][:-1]
    return [
        syllable[:-1] + "5" if character == previous and character in _DOUBLED else syllable
        for character, previous, syllable in zip(characters, before, syllables, strict=True)
    ]


def _third_tones(syllables: list[str]) -> list[str]:
    """A third tone before another one becomes a second: 老虎 is ``lao2 hu3``. In a row: all but the last."""
    following = [*syllables, ""][1:]
    return [
        syllable[:-1] + "2" if syllable.endswith("3") and after.endswith("3") else syllable
        for syllable, after in zip(syllables, following, strict=True)
    ]


def _clock(match: Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    if minute == 0:
        return f"{_hours(hour)}点"
    return f"{_hours(hour)}点{'零' if minute < 10 else ''}{han_cardinal(minute)}分"


def _hours(hour: int) -> str:
    return "两" if hour == 2 else han_cardinal(hour)


def _plain_number(match: Match[str]) -> str:
    text = match[0]
    # Telephone and identity numbers: long, without separators.
    return han_digits(text) if re.fullmatch(r"\d{7,}", text) else han_decimal(text)


def _date(match: Match[str]) -> str:
    month, day = han_cardinal(int(match[2])), han_cardinal(int(match[3]))
    return f"{han_digits(match[1])}年{month}月{day}日"


_N = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_RULES: list[tuple[re.Pattern[str], Spoken]] = [
    (re.compile(r"(\d{4})(?=年)"), lambda m: han_digits(m[1])),
    (re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b"), _date),
    (re.compile(r"(?<!\d)([01]?\d|2[0-3])[:,]([0-5]\d)(?!\d)"), _clock),
    (re.compile(rf"[¥￥] ?({_N})"), lambda m: f"{han_decimal(m[1])}元"),
    (re.compile(rf"\$ ?({_N})"), lambda m: f"{han_decimal(m[1])}美元"),
    (re.compile(rf"({_N}) ?%"), lambda m: f"百分之{han_decimal(m[1])}"),
    (re.compile(r"(\d+)/(\d+)"), lambda m: f"{han_cardinal(int(m[2]))}分之{han_cardinal(int(m[1]))}"),
    (re.compile(r"(?<![\d\w])-(?=\d)"), "负"),
    (re.compile(r"(?<=\d) ?[-~] ?(?=\d)"), "到"),
    (re.compile(r"(?<![\d第])2(?=[个位只条年天次种张本件块])"), "两"),
    (re.compile(_N), _plain_number),
]
