"""What somebody else wrote is shown as it is, and obeyed by nobody."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_models.shown_text import LONGEST_NAME, fit_name, name_problem, shown

_OBEYED = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x202A, 0x202E, 0x2028, 0x2066, 0x2069, 0xFEFF, 0xE0041]


@given(st.text())
def test_nothing_that_cannot_be_seen_is_left(text: str) -> None:
    for character in shown(text):
        assert unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Cs")
        assert character in "\u200c\u200d" or unicodedata.category(character) != "Cf"


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "Mn"])))
def test_what_can_be_seen_stays(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize("number", _OBEYED)
def test_each_is_spelled_out_and_no_name(number: int) -> None:
    text = f"a{chr(number)}b"
    assert shown(text) == f"a{shown(chr(number))}b"
    assert f"{number:x}" in shown(text)
    assert "cannot be seen" in str(name_problem(text))
    assert name_problem(fit_name(text)) is None


@given(st.text(max_size=200))
def test_any_text_has_a_name_near_it(text: str) -> None:
    assert name_problem(fit_name(text)) is None
    if name_problem(text) is None:
        assert fit_name(text) == text


def test_what_a_name_may_be() -> None:
    for name in ("alice", "7", "[/]", "Jürgen's phone", "张伟", "👩‍🎤", "a" * LONGEST_NAME, "#3"):
        assert name_problem(name) is None
    for name in ("", " ", "a ", "a" * (LONGEST_NAME + 1), "a\nb", "\x1b]8;;http://x\x07click\x1b]8;;\x07"):
        assert name_problem(name) is not None
