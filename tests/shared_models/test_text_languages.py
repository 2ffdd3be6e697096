"""Mandarin by hand, other languages through espeak-ng, and any text at all."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.errors import TextError
from shared_models.text.mandarin import normalise_mandarin, pinyin_phones
from shared_models.text.numbers import han_cardinal
from shared_models.text.phonemes import encode, phonemize
from shared_models.text.symbols import SYMBOL_IDS


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        # ni3 hao3: the first third tone rises before the second.
        ("你好。", "n i˧˥ x au̯˨˩˦ ."),
        # zhong1 guo2, shi4 jie4
        ("中国，世界！", "ʈ͡ʂ ʊ˥ ŋ k w o˧˥ , ʂ ɻ̩˥˩ t͡ɕ j ɛ˥˩ !"),
        # bu4 becomes bu2 before a fourth tone: bu2 shi4
        ("不是", "p u˧˥ ʂ ɻ̩˥˩"),
        # ma1 ma5, ci2, xue2, lv4, yuan3
        ("妈妈", "m a˥ m a˧"),
        ("词，学，绿，远", "t͡sʰ ɹ̩˧˥ , ɕ ɥ ɛ˧˥ , l y˥˩ , ɥ ɛ˨˩˦ n"),
        ("儿", "aɚ˧˥"),
    ],
)
def test_mandarin_by_hand(text: str, phones: str) -> None:
    assert phonemize(text, "zh") == ["sil", *phones.split(), "sil"]


def test_every_pinyin_syllable_has_phones() -> None:
    from pypinyin.contrib.tone_convert import to_tone3
    from pypinyin.pinyin_dict import pinyin_dict

    syllables = {
        to_tone3(reading, neutral_tone_with_five=True)
        for code, readings in pinyin_dict.items()
        if 0x4E00 <= code <= 0x9FFF
        for reading in readings.split(",")
    }
    silent = {s for s in syllables if not pinyin_phones(s)}
    assert len(syllables) > 1300
    assert not silent
    assert all(p in SYMBOL_IDS for s in syllables for p in pinyin_phones(s))


def test_mandarin_numbers() -> None:
    assert [han_cardinal(n) for n in (0, 10, 12, 200, 1001, 10203, 20000, 100_000_000)] == [
        "零", "十", "十二", "两百", "一千零一", "一万零两百零三", "两万", "一亿",
    ]  # fmt: skip
    assert (
        normalise_mandarin("2024年3.5%，10:05，第2个和2个。")
        == "二零二四年百分之三点五, 十点零五分, 第二个和两个."
    )


def test_english_inside_mandarin_is_english() -> None:
    assert " ".join(phonemize("用phone吧", "zh-CN")) == "sil j ʊ˥˩ ŋ f ˈoʊ n p a˧ sil"


def test_other_languages_by_espeak() -> None:
    pytest.importorskip("espeakng_loader")
    assert " ".join(phonemize("Guten Tag, Mond!", "de")) == "sil ɡ ˈu t ə n t ˈɑ k , m ˈoː n t ! sil".replace(
        "ː", ""
    )
    with pytest.raises(TextError, match="no phonemizer for language 'xx'"):
        phonemize("hello", "xx")


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from shared_models.text.espeak_library import load_espeak

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    load_espeak.cache_clear()
    with pytest.raises(TextError, match=r"no phonemizer for language 'de'.*fedvoice\[espeak\]"):
        phonemize("hallo", "de")
    load_espeak.cache_clear()


@settings(max_examples=300)
@given(text=st.text(max_size=80), language=st.sampled_from(["en", "zh"]))
def test_any_text_gives_symbols_or_a_text_error(text: str, language: str) -> None:
    try:
        symbols = phonemize(text, language)
    except TextError:
        return
    assert symbols[0] == symbols[-1] == "sil"
    assert len(encode(symbols)) == len(symbols)


_FRAGMENTS = [
    "$",
    "1",
    "0",
    "9",
    ",",
    ".",
    "/",
    ":",
    "-",
    "'",
    "s",
    "th",
    "A",
    "IV",
    "%",
    " ",
    "Dr.",
    "年",
    "好",
    "€",
]


@settings(max_examples=300)
@given(pieces=st.lists(st.sampled_from(_FRAGMENTS), max_size=14), language=st.sampled_from(["en", "zh"]))
def test_odd_numbers_and_marks_never_crash(pieces: list[str], language: str) -> None:
    try:
        symbols = phonemize("".join(pieces), language)
    except TextError:
        return
    assert set(symbols) <= set(SYMBOL_IDS)


def test_a_character_without_a_reading_alone_is_a_text_error() -> None:
    with pytest.raises(TextError):
        phonemize("㓻", "zh")
