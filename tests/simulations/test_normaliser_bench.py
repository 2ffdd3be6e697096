"""The score of a normaliser: what is compared, which lists are none, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared_models.errors import CorpusError, TextError
from simulations.benchmarks.normaliser import HELD_OUT, LISTS, read_list, score, score_list
from simulations.cli import run


def test_words_are_compared_and_pauses_are_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text(
        "# money\n$5, please\tfive dollars please\n$1\tten dollars / one dollar\n# odd\n7\teight\n"
    )
    found = score_list(path, "en-GB")
    assert found.by_kind() == {"money": (2, 2), "odd": (0, 1)}
    assert [(miss.line.written, miss.said) for miss in found.misses] == [("7", "seven")]


@pytest.mark.parametrize("content", ["", "no tab here\n", "a\t\n", "\tb\n"])
def test_a_list_that_is_none_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text(content)
    with pytest.raises(CorpusError, match="written<TAB>spoken"):
        read_list(path)
    with pytest.raises(CorpusError, match="cannot be read"):
        read_list(tmp_path / "none.tsv")


def test_a_language_without_a_normaliser_is_refused() -> None:
    with pytest.raises(TextError, match="no normaliser for language 'de'"):
        score(read_list(LISTS["en"])[:1], "de")


def test_the_mandarin_list_of_our_own_is_read_right() -> None:
    found = score(read_list(LISTS["zh"]), "zh")
    assert len(found.lines) >= 300
    assert found.right >= 0.97 * len(found.lines), found.misses


def test_the_public_set_of_polyphones_is_read_as_it_comes(tmp_path: Path) -> None:
    sentences = ["他▁得走▁了", "▁一▁样", "老虎很▁美▁好", "▁绿▁色（1）"]
    (tmp_path / "test.sent").write_text("\n".join(sentences[1:]), encoding="utf-8")
    (tmp_path / "test.lb").write_text("yi1\nmei4\nlu:4\n", encoding="utf-8")
    found = score_list(tmp_path / "test.sent", "zh")
    assert found.by_kind() == {"一": (1, 1), "美": (0, 1), "绿": (1, 1)}
    assert [miss.said for miss in found.misses] == ["mei2"]
    (tmp_path / "test.sent").write_text("\n".join(sentences), encoding="utf-8")
    with pytest.raises(CorpusError, match="give both whole"):
        score_list(tmp_path / "test.sent", "zh")
    (tmp_path / "test.lb").write_text("dei3\nyi1\nmei3\nlu:4\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="line 1: expected one ▁character▁"):
        score_list(tmp_path / "test.sent", "zh")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_lists_that_were_held_out_share_no_line_with_the_others(language: str) -> None:
    held_out, others = read_list(HELD_OUT[language]), read_list(LISTS[language])
    assert len(held_out) >= 150
    assert not {line.written for line in held_out} & {line.written for line in others}
    assert len({line.kind for line in held_out}) >= 15


def test_the_command_tells_of_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("# 数\n我[得]走\tdei3\n", encoding="utf-8")
    assert run(["bench", "normaliser", str(path), "--language", "zh", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["mine.tsv"]
    assert told == {"lines": 1, "right": 1, "by_class": {"数": {"right": 1, "lines": 1}}, "misses": []}
