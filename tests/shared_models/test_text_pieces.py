"""Where a text is cut, and that nothing of it is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_models.text.pieces import LONGEST_PIECE, SENTENCE_PAUSE, split_text

WORDS = st.text(alphabet="abcdefgh'", min_size=1, max_size=12)
MARKS = st.sampled_from(["", "", "", ",", ";", ".", "!", "?", " —"])


@given(st.lists(st.tuples(WORDS, MARKS), min_size=1, max_size=120))
def test_no_word_is_lost_or_moved_and_no_piece_is_long(said: list[tuple[str, str]]) -> None:
    text = " ".join(word + mark for word, mark in said)
    pieces = split_text(text)
    assert " ".join(piece.text for piece in pieces).split() == text.split()
    assert all(len(piece.text) <= LONGEST_PIECE for piece in pieces)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It cost $3.50 at 4.30 p.m. today.", ["It cost $3.50 at 4.30 p.m. today."]),
        ("Dr. Smith met Mr. J. R. Jones. They left.", ["Dr. Smith met Mr. J. R. Jones.", "They left."]),
        ("St. Paul vs. No. 5, e.g. this.", ["St. Paul vs. No. 5, e.g. this."]),
        ("A line\nand another", ["A line", "and another"]),
        ("你好。我很好！", ["你好。", "我很好！"]),
        ('He said "Stop!" Then he left.', ['He said "Stop!" Then he left.']),
    ],
)
def test_sentences_end_where_a_reader_says(text: str, pieces: list[str]) -> None:
    assert [piece.text for piece in split_text(text)] == pieces


def test_a_long_sentence_is_cut_at_clauses_first() -> None:
    clause = "and the river ran on past the mill and the meadow"
    pieces = split_text(", ".join([clause] * 8) + ".")
    assert len(pieces) > 2
    assert all(piece.text.endswith((",", ".")) for piece in pieces)
    assert [piece.pause for piece in pieces][-1] == SENTENCE_PAUSE
    assert all(piece.pause < SENTENCE_PAUSE for piece in pieces[:-1])


def test_what_fits_between_cuts_is_joined_and_a_longer_word_is_cut() -> None:
    long_word = "b" * (LONGEST_PIECE + 5)
    pieces = [piece.text for piece in split_text(f"one, two, {long_word} three, four.")]
    assert pieces == ["one, two,", "b" * LONGEST_PIECE, "b" * 5 + " three, four."]


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "我们去" * 1000, "7" * 5000, "中文，" * 900, "がんばって" * 500]
)
def test_any_text_is_spoken_in_pieces_of_bounded_length(text: str) -> None:
    pieces = [piece.text for piece in split_text(text)]
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= LONGEST_PIECE
    if not text.isascii():
        assert max(map(len, pieces)) <= LONGEST_PIECE // 3, "a character takes longer than a letter"
    assert len(pieces) < len(text) // 8
