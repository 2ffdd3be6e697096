"""Mandarin as a native speaker reads it: numbers, tones in speech, polyphones, erhua, and other languages inside."""

from __future__ import annotations

import re

import pytest

from shared_models.text.mandarin import mandarin_phones, normalise_mandarin, pinyin_phones
from shared_models.text.mandarin_pinyin import spoken_pinyin
from shared_models.text.phonemes import phonemize
from simulations.benchmarks.normaliser import POLYPHONES, read_polyphones, score_polyphones

READ: dict[str, list[tuple[str, str]]] = {
    "lists": [
        ("分别是100、200、300元", "分别是一百, 两百, 三百元"),
        ("他考了98，99，100分", "他考了九十八, 九十九, 一百分"),
        ("第3、15页", "第三, 十五页"),
        ("三个数：12、15、18", "三个数, 十二, 十五, 十八"),
        ("共（3）15人", "共, 三, 十五人"),
        ("拨打（010）88886666", "拨打, 零一零, 八八八八六六六六"),
        ("①②③和1,234", "一, 二, 三, 和一千两百三十四"),
    ],
    "clock and scores": [
        ("现在17：20分", "现在十七点二十分"),
        ("现在8:30分", "现在八点三十分"),
        ("现在10:30:15", "现在十点三十分十五秒"),
        ("比分3:2，比例是1:2", "比分三比二, 比例是一比二"),
        ("8:05到9:00", "八点零五分到九点"),
    ],
    "units": [
        ("长25cm，重10kg", "长二十五厘米, 重十公斤"),
        ("气温37.5℃", "气温三十七点五摄氏度"),
        ("零下5℃，-5℃", "零下五摄氏度, 零下五摄氏度"),
        ("时速60km/h", "时速六十公里每小时"),
        ("面积2.5㎡和100m²", "面积二点五平方米和一百平方米"),
        ("喝2L水", "喝两升水"),
    ],
    "dates and numbers to call": [
        ("日期2024/12/24", "日期二零二四年十二月二十四日"),
        ("日期2024.12.24", "日期二零二四年十二月二十四日"),
        ("手机138-0013-8000", "手机一三八零零一三八零零零"),
        ("电话400-800-1234", "电话四零零八零零一二三四"),
        ("请拨打110", "请拨打幺幺零"),
        ("2月2日，第2天，2天", "二月二日, 第二天, 两天"),
    ],
    "money and percentages": [
        ("US$20或¥1,234.5", "二十美元或一千两百三十四点五元"),
        ("10%-20%，5~10%", "百分之十到百分之二十, 百分之五到百分之十"),
        ("2×3=6，x²", "二乘三等于六, x的平方"),
    ],
}  # fmt: skip

PINYIN: list[tuple[str, str]] = [
    # 一 and 不, as 1.5 and 21.1 as well.
    ("一天", "yi4 tian1"), ("一年", "yi4 nian2"), ("一万", "yi2 wan4"), ("一样", "yi2 yang4"), ("一块", "yi2 kuai4"),
    ("一张", "yi4 zhang1"), ("1.5", "yi1 dian2 wu3"), ("21.1", "er4 shi2 yi1 dian3 yi1"), ("看一看", "kan4 yi5 kan4"),
    ("一月一日", "yi1 yue4 yi1 ri4"), ("不去", "bu2 qu4"), ("不看", "bu2 kan4"), ("第一天", "di4 yi1 tian1"),
    ("星期一", "xing1 qi1 yi1"), ("一九九九", "yi1 jiu2 jiu2 jiu3"), ("好不好", "hao3 bu5 hao3"), ("不来", "bu4 lai2"),
    # Polyphones.
    ("专心地听", "zhuan1 xin1 de5 ting1"), ("慢慢地走", "man4 man4 de5 zou3"), ("高兴地说", "gao1 xing4 de5 shuo1"),
    ("跑得快", "pao3 de5 kuai4"), ("你得去", "ni2 dei3 qu4"), ("衣着简朴的人", "yi1 zhuo2 jian2 pu3 de5 ren2"),
    ("曾先生", "zeng1 xian1 sheng5"), ("土地", "tu3 di4"), ("得到", "de2 dao4"), ("一只猫", "yi4 zhi1 mao1"),
    # Erhua.
    ("这儿", "zher4"), ("那儿", "nar4"), ("花儿", "huar1"), ("玩儿", "wanr2"), ("一点儿", "yi4 dianr3"),
    ("聊天儿", "liao2 tianr1"), ("女儿", "nv3 er2"), ("儿子", "er2 zi5"), ("幼儿园", "you4 er2 yuan2"),
    # Third tones, neutral tones, traditional characters, a variant, written pinyin.
    ("你好", "ni2 hao3"), ("小老虎", "xiao2 lao2 hu3"), ("朋友", "peng2 you5"), ("妈妈", "ma1 ma5"),
    ("這裡的東西", "zhe4 li3 de5 dong1 xi5"), ("𠮷野家", "ji2 ye3 jia1"), ("nǐ hǎo", "ni2 hao3"),
]  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_a_class_is_read_as_a_native_reader_reads_it(kind: str) -> None:
    wrong = {w: (normalise_mandarin(w), right) for w, right in READ[kind] if normalise_mandarin(w) != right}
    assert not wrong


@pytest.mark.parametrize(("text", "pinyin"), PINYIN, ids=[text for text, _ in PINYIN])
def test_syllables_as_they_are_spoken(text: str, pinyin: str) -> None:
    assert mandarin_phones(text) == [
        phone for syllable in pinyin.split() for phone in pinyin_phones(syllable)
    ]


def test_erhua_is_one_syllable_in_the_symbols_there_are() -> None:
    assert pinyin_phones("huar1") == ["x", "w", "a˥", "ɻ"]
    assert pinyin_phones("dianr3") == ["t", "j", "a˨˩˦", "ɻ"]
    assert pinyin_phones("shir4") == ["ʂ", "ə˥˩", "ɻ"]
    assert pinyin_phones("er2") == ["aɚ˧˥"]


def test_a_character_a_syllable_or_none() -> None:
    text = "我们在这儿等一会儿㓻不去" * 60
    pairs = spoken_pinyin(text)
    assert "".join(character for character, _ in pairs) == text
    assert all(re.fullmatch(r"[a-zü]+[1-5]|", syllable) for _, syllable in pairs)


def test_polyphones_in_sentences_agree_with_a_native_reading() -> None:
    lines = read_polyphones(POLYPHONES)
    found = score_polyphones(lines)
    assert len(lines) >= 200
    assert found.right >= 0.97 * len(lines), found.misses


def test_languages_inside_one_another_are_each_read_in_their_own() -> None:
    hello, ni_hao, friend = (
        phonemize(t, lang)[1:-1] for t, lang in (("Hello", "en"), ("你好", "zh"), ("friend", "en"))
    )
    assert phonemize("Hello 你好 friend", "en")[1:-1] == hello + ni_hao + friend
    assert phonemize("Hello 你好 friend", "zh")[1:-1] == hello + ni_hao + friend
    apples = phonemize("3个苹果。", "zh")[1:-1]
    assert phonemize("I ate 3个苹果。", "en")[1:-1] == phonemize("I ate", "en")[1:-1] + apples
    assert (
        phonemize("写信到 me@site.org", "zh")[1:-1]
        == phonemize("写信到", "zh")[1:-1] + phonemize("me@site.org")[1:-1]
    )
