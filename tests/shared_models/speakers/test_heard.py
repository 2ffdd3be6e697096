"""References as signals: side by side, and cut to the same part of a recording."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_models.audio.mel import HOP
from shared_models.speakers.heard import MEL, Heard, Reference, Signal


def reference_of_frames(frames: int) -> Reference:
    """Each frame of the mel holds its number, and so does each sample of the waveform."""
    mel = torch.arange(frames).float()[:, None].expand(-1, 2)
    wave = torch.arange(frames).float().repeat_interleave(HOP)[:, None]
    # A recording is a little longer than its whole frames.
    return Reference({MEL: mel, "wave": torch.cat([wave, torch.full((7, 1), -1.0)])})


@given(st.integers(1, 9), st.integers(0, 8), st.integers(0, 9))
def test_an_excerpt_is_the_same_part_of_every_signal(frames: int, start: int, width: int) -> None:
    start = min(start, frames)
    width = min(width, frames - start)
    cut = reference_of_frames(frames).excerpt(start, width)
    assert cut.frames == width
    assert cut.signals[MEL][:, 0].tolist() == list(range(start, start + width))
    assert cut.signals["wave"].shape == (width * HOP, 1)
    assert set(cut.signals["wave"].flatten().tolist()) == set(range(start, start + width))


def test_side_by_side_they_are_padded_and_rows_are_counted() -> None:
    heard = Heard.of([reference_of_frames(2), reference_of_frames(5)], torch.tensor([4, 1]))
    assert heard.rows.tolist() == [4, 1]
    assert heard.signals[MEL].values.shape == (2, 5, 2)
    assert heard.signals[MEL].lengths.tolist() == [2, 5]
    assert heard.signals["wave"].lengths.tolist() == [2 * HOP + 7, 5 * HOP + 7]
    assert not heard.signals[MEL].values[0, 2:].any()
    assert Heard.of([reference_of_frames(2)]).rows.tolist() == [0]


def test_nobody_is_heard_where_every_reference_is_empty() -> None:
    whole, empty = reference_of_frames(3), reference_of_frames(3).excerpt(0, 0)
    assert Heard(torch.tensor([0])).nobody
    assert Heard.of([empty, empty]).nobody
    assert not Heard.of([whole, empty]).nobody


@pytest.mark.parametrize("frames", [1, 3, 20])
def test_a_random_run_is_the_same_of_every_signal(frames: int) -> None:
    lengths = [4, 9, 0]
    heard = Heard.of([reference_of_frames(length) for length in lengths])
    state = torch.Generator().manual_seed(2)
    expected = torch.Generator().manual_seed(2)
    seen = set()
    for _ in range(40):
        run = heard.excerpt(frames, state)
        torch.rand(len(lengths), generator=expected)
        for row, length in enumerate(lengths):
            mel, wave = run.signals[MEL], run.signals["wave"]
            assert int(mel.lengths[row]) == min(frames, length)
            numbers = mel.values[row, : int(mel.lengths[row]), 0].tolist()
            heard_in_wave = wave.values[row, : int(wave.lengths[row]), 0].tolist()
            assert heard_in_wave == [number for number in numbers for _ in range(HOP)]
            seen.add((row, *numbers[:1]))
    assert torch.equal(torch.rand(3, generator=state), torch.rand(3, generator=expected)), "B numbers a draw"
    starts = [length - min(frames, length) + 1 for length in lengths if length]
    assert len(seen) == sum(starts) + 1


def test_it_goes_to_a_device_as_a_whole() -> None:
    heard = Heard(
        torch.tensor([0]), {MEL: Signal(torch.zeros(1, 2, 2), torch.tensor([2]))}, {"own": torch.ones(1, 3)}
    )
    moved = heard.to(torch.device("meta"))
    tensors = [moved.rows, moved.signals[MEL].values, moved.signals[MEL].lengths, moved.own["own"]]
    assert all(tensor.device.type == "meta" for tensor in tensors)
