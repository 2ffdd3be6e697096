"""Alignments: what MFA and our own tables say, as durations that always add up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from shared_models.audio.alignment import (
    Phone,
    read_alignment,
    speech_bounds,
    symbols_and_durations,
    write_phones,
)
from shared_models.audio.arpabet import arpabet_to_symbol
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.errors import AudioError, StorageError
from shared_models.text.symbols import SILENCE, SYMBOL_IDS


def write_grid(path: Path, entries: list[tuple[float, float, str]], tier: str = "phones") -> None:
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier("words", [(entries[0][0], entries[-1][1], "hello")]))
    grid.addTier(textgrid.IntervalTier(tier, entries, 0, entries[-1][1]))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


HELLO = [
    (0.0, 0.31, ""),
    (0.31, 0.4, "HH"),
    (0.4, 0.46, "AH0"),
    (0.46, 0.55, "L"),
    (0.55, 0.8, "OW1"),
    (0.8, 1.2, ""),
]


def test_text_grid_of_mfa_is_read(tmp_path: Path) -> None:
    write_grid(tmp_path / "a.TextGrid", HELLO)
    phones = read_alignment(tmp_path / "a.TextGrid")
    assert [phone.symbol for phone in phones] == [SILENCE, "h", "ə", "l", "ˈoʊ", SILENCE]
    assert [(p.start, p.end) for p in phones] == [(s, e) for s, e, _ in HELLO]
    assert speech_bounds(phones) == (0.31, 0.8)


@pytest.mark.parametrize("label", ["", "sil", "sp", "spn", "SIL"])
def test_every_spelling_of_silence(tmp_path: Path, label: str) -> None:
    write_grid(tmp_path / "a.TextGrid", [(0.0, 0.5, label), (0.5, 0.6, "S"), (0.6, 0.9, label)])
    assert [p.symbol for p in read_alignment(tmp_path / "a.TextGrid")] == [SILENCE, "s", SILENCE]


def test_tier_of_a_named_speaker_and_of_the_wrong_name(tmp_path: Path) -> None:
    write_grid(tmp_path / "a.TextGrid", HELLO, tier="anna - phones")
    assert len(read_alignment(tmp_path / "a.TextGrid")) == 6
    write_grid(tmp_path / "b.TextGrid", HELLO, tier="segments")
    with pytest.raises(AudioError, match="words, segments"):
        read_alignment(tmp_path / "b.TextGrid")


def test_every_arpabet_phone_is_known_and_distinct() -> None:
    vowels = [
        "AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW",
    ]  # fmt: skip
    consonants = [
        "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N",
        "NG", "P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH",
    ]  # fmt: skip
    labels = [*(vowel + stress for vowel in vowels for stress in "012"), *consonants]
    symbols = [arpabet_to_symbol(label) for label in labels]
    assert all(symbol in SYMBOL_IDS for symbol in symbols)
    assert len(set(symbols)) == len(labels)
    assert [arpabet_to_symbol(label) for label in ("AH0", "AH1", "ER2", "JH", "NG")] == [
        "ə", "ˈʌ", "ˌɚ", "d͡ʒ", "ŋ",
    ]  # fmt: skip
    assert arpabet_to_symbol("QQ") is None


@st.composite
def phone_lists(draw: st.DrawFn) -> list[Phone]:
    lengths = draw(st.lists(st.floats(0, 0.3), min_size=3, max_size=30))
    lengths[1] += 0.4
    phones, now = [], 0.0
    for i, length in enumerate(lengths):
        edge = i in (0, len(lengths) - 1)
        symbol = SILENCE if edge else draw(st.sampled_from(["s", "ə", "t", "n"]))
        phones.append(Phone(now, now + length, symbol))
        now += length
    return phones


@given(phones=phone_lists())
@settings(max_examples=100)
def test_durations_sum_to_the_frames_and_stay_at_their_place(phones: list[Phone]) -> None:
    samples = round(phones[-1].end * SAMPLE_RATE)
    frames = samples // HOP
    symbols, durations = symbols_and_durations(phones, 0, frames)
    assert symbols == [phone.symbol for phone in phones]
    assert durations.dtype == torch.int64
    assert durations.sum() == frames
    assert (durations >= 0).all()
    ends = durations.cumsum(0)
    for end, phone in zip(ends[:-1].tolist(), phones[:-1], strict=True):
        assert abs(end - phone.end * SAMPLE_RATE / HOP) <= 1.0


@given(phones=phone_lists(), data=st.data())
@settings(max_examples=100)
def test_trimming_moves_the_phones_with_the_audio(phones: list[Phone], data: st.DataObject) -> None:
    """Cut as extraction does: in the outer silences, at most 50 ms from the speech."""
    first, last = speech_bounds(phones)
    start = round(max(0.0, first - data.draw(st.floats(0, 0.05))) * SAMPLE_RATE)
    end = round(min(phones[-1].end, last + data.draw(st.floats(0, 0.05))) * SAMPLE_RATE)
    frames = (end - start) // HOP
    symbols, durations = symbols_and_durations(phones, start, frames)
    assert symbols[0] == symbols[-1] == SILENCE
    assert durations.sum() == frames
    assert (durations >= 0).all()
    spoken = [phone for phone in phones if phone.symbol != SILENCE]
    offset = symbols.index(spoken[0].symbol)
    ends = durations.cumsum(0)[offset : offset + len(spoken)]
    for found, phone in zip(ends.tolist(), spoken, strict=True):
        assert abs(found - (phone.end * SAMPLE_RATE - start) / HOP) <= 1.0


def test_speech_beyond_the_audio_is_refused() -> None:
    phones = [Phone(0, 0.2, SILENCE), Phone(0.2, 1.0, "s")]
    with pytest.raises(AudioError, match="align"):
        symbols_and_durations(phones, 0, 60)


def test_audio_that_goes_on_is_refused() -> None:
    phones = [Phone(0, 0.2, SILENCE), Phone(0.2, 1.0, "s")]
    with pytest.raises(AudioError, match="align"):
        symbols_and_durations(phones, 0, 120)


def test_gaps_become_silence_and_silences_join(tmp_path: Path) -> None:
    path = tmp_path / "a.phones"
    path.write_text("0.1\t0.2\ts\n0.5\t0.6\tsil\n0.6\t0.7\tsil\n0.7\t0.9\tt\n")
    found = [(p.start, p.end, p.symbol) for p in read_alignment(path)]
    assert found == [(0, 0.1, "sil"), (0.1, 0.2, "s"), (0.2, 0.7, "sil"), (0.7, 0.9, "t")]


@given(phones=phone_lists())
@settings(max_examples=30)
def test_table_is_read_as_written(tmp_path_factory: pytest.TempPathFactory, phones: list[Phone]) -> None:
    path = tmp_path_factory.mktemp("tables") / "a.phones"
    write_phones(path, phones)
    read = read_alignment(path)
    assert [p.symbol for p in read] == [p.symbol for p in phones]
    assert [p.end for p in read] == pytest.approx([p.end for p in phones], abs=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "0.0 0.1 s\n",
        "0.0\t0.1\n",
        "zero\t0.1\ts\n",
        "0.0\t0.1\tklingon\n",
        "0.0\tnan\ts\n",
        "0.5\t0.6\ts\n0.1\t0.2\ts\n",
        "0.5\t0.4\ts\n",
    ],
)
def test_damaged_table_is_one_sentence_that_names_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.phones"
    path.write_text(content)
    with pytest.raises(AudioError, match=r"broken\.phones") as caught:
        read_alignment(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"File type = nonsense", b"\xff\xfe\x00garbage", None])
def test_damaged_text_grid_is_one_sentence_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.TextGrid"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=r"broken\.TextGrid"):
        read_alignment(path)


def test_unknown_label_is_named(tmp_path: Path) -> None:
    write_grid(tmp_path / "a.TextGrid", [(0.0, 0.5, "QQ9")])
    with pytest.raises(AudioError, match="QQ9"):
        read_alignment(tmp_path / "a.TextGrid")


def test_alignment_of_silence_alone_has_no_bounds() -> None:
    with pytest.raises(AudioError):
        speech_bounds([Phone(0, 1, SILENCE)])


def test_table_in_an_impossible_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_phones(tmp_path / "file" / "a.phones", [Phone(0, 1, "s")])
