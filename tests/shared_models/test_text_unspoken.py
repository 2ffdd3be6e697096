"""What no front end says is named; a user's dictionary says it; any text at all ends in symbols or in one sentence."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pytest
from odd_texts import text_of

from shared_models.errors import TextError
from shared_models.text.dictionary import Dictionary
from shared_models.text.phonemes import encode, phonemize
from shared_models.text.pieces import split_text
from shared_models.text.symbols import SYMBOL_IDS
from shared_models.text.unspoken import is_said, left_out, unspoken


@pytest.mark.parametrize(
    ("text", "language", "missing"),
    [
        ("Hello 你好 friend", "en", ()),
        ("Hello Привет friend 안녕", "en", ("Привет", "안녕")),
        ("雪の花", "zh", ("の",)),
        ("𠮷野家", "zh", ()),
        ("café Łódź — α ≤ β, ₹5 ½", "en", ()),
        ("Great 👍🏽 ☕!", "en", ("👍🏽", "☕")),
        ("今天😊好 λ 5℃", "zh", ("😊", "λ")),
        ("only ₹ or ¥ © 2020", "en", ()),
        ("a ⊕ b", "en", ("⊕",)),
    ],
)
def test_what_no_front_end_says_is_named(text: str, language: str, missing: tuple[str, ...]) -> None:
    assert unspoken(text, language) == missing
    assert all(part in left_out(missing) for part in missing)


def test_a_text_has_something_to_say_or_not() -> None:
    assert [is_said(text, "en") for text in ("Hello", "Привет", "👍", "5", "...")] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_a_dictionary_says_words_in_words_pinyin_and_phones(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text(
        "# mine\nGIF\tjif\nNguyen\t/N W IH1 N/\n朝阳\tchao2 yang2\nОля\t/ˈoʊ l j ə/\n", encoding="utf-8"
    )
    own = Dictionary.read(path)
    assert phonemize("a GIF file", "en", own) == phonemize("a jif file", "en")
    assert phonemize("Call Nguyen.", "en", own)[1:-1] == [*phonemize("Call")[1:-1], "n", "w", "ˈɪ", "n", "."]
    assert phonemize("朝阳门", "zh", own) == phonemize("cháo yáng 门", "zh")
    assert "l" in phonemize("Оля", "en", own)
    assert phonemize("gifted", "en", own) == phonemize("gifted", "en")
    assert (unspoken("Оля, Иван", "en"), unspoken("Оля, Иван", "en", own)) == (("Оля", "Иван"), ("Иван",))
    assert is_said("Оля!", "en", own)
    assert not is_said("Оля!", "en")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("word", "line 1"),
        ("a\t/Q9/", "'Q9'"),
        ("a\tb\na\tc", "twice"),
        ("# nothing", "no word"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_dictionary_that_is_none_is_one_sentence(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TextError, match=problem) as raised:
        Dictionary.read(path)
    assert "\n" not in str(raised.value)


def _symbols_or_none(text: str, language: str) -> list[str] | None:
    try:
        return phonemize(text, language)
    except TextError:
        return None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_any_text_of_any_script_ends_in_symbols_or_in_one_sentence(language: str) -> None:
    rng = random.Random(14)
    for text in (text_of(rng) for _ in range(150)):
        symbols = _symbols_or_none(text, language)
        if symbols is None:
            continue
        assert set(symbols) <= set(SYMBOL_IDS)
        assert len(encode(symbols)) == len(symbols)
        # A letter that is said makes a sound, and one that is not is named.
        missing = set("".join(unspoken(text, language)))
        assert not any(unicodedata.category(c)[0] in "ZMP" for c in missing)
        assert "".join(piece.text for piece in split_text(text)).split()
