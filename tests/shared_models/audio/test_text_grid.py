"""TextGrids of every program: the same tiers whichever way they are written."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from shared_models.audio.alignment import read_alignment
from shared_models.audio.text_grid import Tier, read_tiers
from shared_models.errors import AudioError

PHONES = ((0.0, 0.3, ""), (0.3, 0.4, "HH"), (0.4, 0.8, "OW1"), (0.8, 1.2, "sil"))
FORMATS = ("long_textgrid", "short_textgrid", "json", "textgrid_json")


def written(path: Path, form: str, tier: str = "phones") -> str:
    """By praatio, an independent implementation."""
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.PointTier("tones", [(0.5, 'H* "high"')], 0, 1.2))
    grid.addTier(textgrid.IntervalTier(tier, list(PHONES), 0, 1.2))
    grid.save(str(path), format=form, includeBlankSpaces=True)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("form", FORMATS)
def test_all_forms_hold_the_same_tiers(tmp_path: Path, form: str) -> None:
    assert read_tiers(written(tmp_path / "a", form)) == [Tier("tones", None), Tier("phones", PHONES)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_praats_encodings(tmp_path: Path, encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    # A grid whose end differs from its tiers', on which praatio has something to say.
    text = written(tmp_path / "a", "long_textgrid").replace("xmax = 1.2", "xmax = 1.7", 1)
    path = tmp_path / "a.TextGrid"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.write_bytes((mark + text).encode(encoding))
    assert [(p.start, p.end) for p in read_alignment(path)] == [(s, e) for s, e, _ in PHONES]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("tier", ["phones", "Phone", "anna - phones", "phonemes", "MAU"])
def test_tiers_of_phones_have_several_names(tmp_path: Path, tier: str) -> None:
    (tmp_path / "a.TextGrid").write_text(written(tmp_path / "a", "short_textgrid", tier))
    assert len(read_alignment(tmp_path / "a.TextGrid")) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"tiers": {}}', "has no tier 'phones', only none at all"),
        ('{"tiers": {"phones": {"type": "point", "entries": [[0.1, "a"]]}}}', "points, not intervals"),
        ('{"tiers": {"phones": {"type": "interval", "entries": [[0.1, "a"]]}}}', "is not a TextGrid"),
        ('{"tiers": 3}', "is not a TextGrid"),
        ("[" * 100_000, "is not a TextGrid"),
        ("{" * 100_000, "is not a TextGrid"),
        ('"ooTextFile" "TextGrid" 0 1 <exists> 1 "TextTier" "phones" 0 1 1 0.5 "a"', "points, not intervals"),
        ('"ooTextFile" "TextGrid" 0 1 <exists> 1e300', "is not a TextGrid"),
        ('"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "phones" 0 1 9 0 1 "s"', "is not a TextGrid"),
        ('"ooTextFile" "TextGrid" 0 1 <absent>', "no tier"),
        ('"Praat chronological TextGrid text file" 0 1', "is not a TextGrid"),
    ],
)  # fmt: skip
def test_what_is_none_is_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "odd.TextGrid"
    path.write_text(content)
    with pytest.raises(AudioError, match=said) as caught:
        read_alignment(path)
    assert "odd.TextGrid" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(cut=st.floats(0, 1), noise=st.text(max_size=5), form=st.sampled_from(FORMATS))
@settings(max_examples=60)
def test_a_damaged_grid_is_a_grid_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, cut: float, noise: str, form: str
) -> None:
    text = written(tmp_path_factory.mktemp("grid") / "a", form)
    place = int(cut * len(text))
    for damaged in (text[:place], text[:place] + noise + text[place:], json.dumps(text)):
        with contextlib.suppress(ValueError):
            assert all(isinstance(tier, Tier) for tier in read_tiers(damaged))
