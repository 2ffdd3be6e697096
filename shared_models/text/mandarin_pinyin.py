"""Chinese characters as numbered pinyin, as they are spoken: polyphones, neutral tones, sandhi, erhua.

pypinyin (MIT) divides a text into words of its dictionary and reads them; what depends on the words beside it, and the
tones that change in speech, are the rules below. They follow Chao, "A Grammar of Spoken Chinese" (1968), 1.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from shared_models.text.mandarin_readings import (
    ER_BEGINS,
    HONORIFICS,
    IN_FOREIGN_NAMES,
    KEEP_ER,
    NEUTRAL_SECOND,
    READ_BEFORE,
    READ_BEHIND,
    SURNAMES,
    WORDS,
)

_FIGURES = frozenset("零一二三四五六七八九十幺两")
_VARIANTS = str.maketrans({"〇": "零", "𠮷": "吉"})
"""Characters without a reading in the dictionary, and the ones that they are forms of."""
_DOUBLED = frozenset("妈爸爷奶哥姐弟妹叔舅姑婶嫂")
_OWN_WORDS = re.compile("|".join(sorted(WORDS, key=len, reverse=True)))
_NEUTRAL = re.compile("|".join(sorted(NEUTRAL_SECOND, key=len, reverse=True)))
_SURNAME = re.compile(
    rf"(?:(?<=姓)([{''.join(SURNAMES)}])|(?<![一-鿿])([{''.join(SURNAMES)}])(?=(?:{HONORIFICS})))"
)
_PRONOUNS = frozenset("我你您他她它们谁就也都还总可只必得又才准")
_GAINED = frozenset("到出知以意罪体失胜分奖救证病票名了过")
"""What may be behind 得 that means to get."""
_ADVERBIAL = re.compile(
    r"(?<=[一-鿿])[一-鿿](?<![土当各本外此基草工场产田天陆内墓的余阵领民绿空山湿林境实农耕荒片块亩这那种买卖租占在到])地"
    r"(?=[一-鿿])(?![上下里面方区图球点位址铁板带形理震势主毯道质名平步产段基很是的都有和也])"
)
"""地 behind how something is done and before what is done: 专心地听."""
_UNABLE = re.compile(r"(?<=[一-鿿])不了(?!解|起|[一-鿿]?之)")
"""不了 behind a verb: 买不了."""
_LONGEST_AT_ONCE = 200
"""Characters that pypinyin divides at once: its search for words grows faster than the text."""


def spoken_pinyin(characters: str, *, sandhi: bool = True) -> list[tuple[str, str]]:
    """Each character with its syllable as it is spoken: ``花儿`` is ``[("花", "huar1"), ("儿", "")]``.

    Without ``sandhi`` each is as it is read before its neighbours change it, as dictionaries have it.

    A syllable is empty where the one before it holds it, and where the character has no reading, which
    :func:`has_reading` tells.
    """
    characters = _simplified(characters.translate(_VARIANTS))
    parts = [characters[i : i + _LONGEST_AT_ONCE] for i in range(0, len(characters), _LONGEST_AT_ONCE)]
    return [pair for part in parts for pair in _part(part, sandhi)]


@lru_cache(maxsize=10_000)
def has_reading(character: str) -> bool:
    """Whether pypinyin knows how ``character`` is read."""
    from pypinyin.constants import PINYIN_DICT

    return ord(character) in _VARIANTS or ord(character) in PINYIN_DICT


def _part(characters: str, sandhi: bool) -> list[tuple[str, str]]:
    words = _words(characters)
    said = [syllable for word in words for syllable in _read(word)]
    ends = _word_ends(words)
    _by_neighbours(characters, said, words)
    _own_words(characters, said)
    if sandhi:
        said = _one_and_not(characters, said, ends)
        said = third_tones(said)
        said = _er_colours(characters, said)
    return list(zip(characters, said, strict=True))


def _words(characters: str) -> list[str]:
    from pypinyin.seg.mmseg import seg

    return [word for word in seg.cut(characters) if word]


def _read(word: str) -> list[str]:
    from pypinyin import Style, lazy_pinyin

    found = list(lazy_pinyin(word, Style.TONE3, errors="ignore", neutral_tone_with_five=True))
    if len(found) == len(word):
        return found
    return [syllable for c in word for syllable in (_read(c) if len(word) > 1 else [""])]


def _simplified(characters: str) -> str:
    """Traditional characters as simplified ones, in which the dictionary has most of its words."""
    try:
        characters.encode("gb2312")
    except UnicodeEncodeError:
        from wetext.constants import FSTS

        simple = str(FSTS["preprocess"]["traditional_to_simple"](characters))
        return simple if len(simple) == len(characters) else characters
    return characters


def _word_ends(words: Sequence[str]) -> set[int]:
    """Positions of characters that end a word of several."""
    ends, position = set(), 0
    for word in words:
        position += len(word)
        if len(word) > 1:
            ends.add(position - 1)
    return ends


def _by_neighbours(characters: str, said: list[str], words: Sequence[str]) -> None:
    """Readings of characters that stand alone between words, in place."""
    position = 0
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        behind = characters[position + 1 : position + 2]
        if len(word) == 1:
            said[position] = _alone(word, before, behind, characters[:position][-6:]) or said[position]
        position += len(word)
    for match in _ADVERBIAL.finditer(characters):
        said[match.end() - 1] = "de5"
    for match in _UNABLE.finditer(characters):
        said[match.start() : match.end()] = ["bu4", "liao3"]
    for match in _SURNAME.finditer(characters):
        said[match.start()] = SURNAMES[match[0]]


def _alone(character: str, before: str, behind: str, last: str) -> str | None:
    """How a character is read that belongs to no word, or None to leave it as it is."""
    counted = bool(last) and last[-1] in "一二两三四五六七八九十百千几这那每各某多第哪"
    match character:
        case "得":
            if not before or before[-1] in _PRONOUNS:
                return "de2" if behind and behind in _GAINED else "dei3" if behind else None
            gains = behind and behind in _GAINED and (len(before) > 1 or before in "于经已将曾")
            return "de2" if gains else "de5"
        case "着":
            return "zhe5"
        case "只":
            return "zhi1" if counted else "zhi3"
        case "种":
            return "zhong3" if counted else "zhong4"
        case "长":
            grown = (behind and behind in "得大高出满成在") or (
                last and last[-1] in "市校班家队院部局会省县镇村组团站厂"
            )
            return "zhang3" if grown else "chang2"
        case "干":
            return "gan1" if last and last[-1] in "服发晒晾擦烘风口巾洗吹" else None
        case "中":
            return "zhong4" if behind == "了" else None
        case "行":
            if re.search("第[一二两三四五六七八九十百]+$", last):
                return "hang2"
            return "hang2" if counted and behind and behind in "字诗文代泪白眼" else None
        case "还":
            return "huan2" if behind and behind in "书钱给债款清了" else "hai2"
        case "倒":
            return "dao3" if behind and behind in "了下在塌" and last[-1:] not in "反" else None
        case "数":
            return "shu3" if behind and behind in "着了到数不一" else None
        case "教":
            return (
                "jiao1"
                if behind and behind in "我你他她它您咱谁孩小英语文数唱跳画书了过着给得出弟游"
                else None
            )
        case "背":
            return "bei1" if behind and behind in "着起了上" else None
        case "为":
            return "wei2" if last[-1:] in tuple("成作认以称分改视定选任变名列") else None
        case "处":
            return "chu4" if counted else None
        case "弹":
            return "dan4" if counted or (behind and behind in "头药壳片道") else "tan2"
        case "相":
            return "xiang4" if "照" in last else None
        case "塞":
            return "sai4" if {last[-1:], behind} & IN_FOREIGN_NAMES else None
        case "勒":
            return "lei1" if behind and behind in "紧住死着得出" else "le4"
        case "舍":
            return "she3" if behind and behind in "弃得不身己我命去入" else "she4"
        case _:
            return _beside(character, last[-1:], behind)


def _beside(character: str, before: str, behind: str) -> str | None:
    """How a character is read between these two, by the tables."""
    for reading, characters in ((READ_BEFORE.get(character), behind), (READ_BEHIND.get(character), before)):
        if reading is not None and characters and characters in reading[1]:
            return reading[0]
    return None


def _own_words(characters: str, said: list[str]) -> None:
    for match in _NEUTRAL.finditer(characters):
        if said[match.end() - 1]:
            said[match.end() - 1] = said[match.end() - 1][:-1] + "5"
    for match in _OWN_WORDS.finditer(characters):
        said[match.start() : match.end()] = _spread(match[0], WORDS[match[0]].split())
    for index, character in enumerate(characters[1:], start=1):
        if character == characters[index - 1] and character in _DOUBLED and said[index]:
            said[index] = said[index][:-1] + "5"


def _spread(word: str, syllables: list[str]) -> list[str]:
    """A syllable a character; 儿 that colours the one before it keeps a place that is empty."""
    return syllables + [""] * (len(word) - len(syllables))


def _one_and_not(characters: str, said: list[str], ends: set[int]) -> list[str]:
    """一 and 不 before the tone that follows. 一 as a figure or an ordinal, and at a word's end, keeps its own."""
    found = list(said)
    for index, character in enumerate(characters):
        if character not in "一不" or not said[index].startswith(("yi", "bu")):
            continue
        before, behind = characters[index - 1 : index] if index else "", characters[index + 1 : index + 2]
        following = next((s for s in said[index + 1 : index + 2] if s), "")
        if before and before == behind:
            found[index] = found[index][:2] + "5"
        elif character == "不":
            found[index] = (
                said[index] if said[index] == "bu5" else "bu2" if following.endswith("4") else "bu4"
            )
        elif said[index] == "yi5" or _is_figure(characters, index, index in ends) or not following:
            found[index] = "yi1"
        else:
            found[index] = "yi2" if following[-1] == "4" or following == "ge5" else "yi4"
    return found


def _is_figure(characters: str, index: int, ends_a_word: bool) -> bool:
    before = characters[index - 1] if index else ""
    behind = characters[index + 1 : index + 3]
    if (before and before in _FIGURES | set("第初周点期拜统唯专划归")) or (
        behind[:1] and behind[0] in _FIGURES - {"两"}
    ):
        return True
    if behind[:1] in {"月", "号", "班", "楼"} or behind == "年级" or (behind[:1] == "日" and before == "月"):
        return True
    if behind[:1] == "点" and behind[1:] and behind[1] in _FIGURES:
        return True
    return ends_a_word


def third_tones(said: list[str]) -> list[str]:
    """A third tone before another one becomes a second: 老虎 is ``lao2 hu3``. In a row: all but the last."""
    following = [next((s for s in said[i + 1 :][:2] if s), "") for i in range(len(said))]
    return [
        syllable[:-1] + "2" if syllable.endswith("3") and after.endswith("3") else syllable
        for syllable, after in zip(said, following, strict=True)
    ]


def _er_colours(characters: str, said: list[str]) -> list[str]:
    """儿 behind a noun or adverb is part of its syllable: 花儿 is ``huar1``."""
    found = list(said)
    for index, character in enumerate(characters):
        if character != "儿" or index == 0 or not found[index] or not found[index - 1]:
            continue
        before, behind = characters[index - 1], characters[index + 1 : index + 2]
        if before in KEEP_ER or (behind and behind in ER_BEGINS) or found[index - 1].startswith("er"):
            continue
        found[index - 1] = f"{found[index - 1][:-1]}r{found[index - 1][-1]}"
        found[index] = ""
    return found
