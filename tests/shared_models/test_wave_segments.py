"""Segments of recordings have the mel that the recording has there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.mel import HOP, log_mel
from shared_models.audio.wave_segments import (
    FULL_SCALE,
    MARGIN,
    cut,
    long_enough,
    random_segments,
    segments_of,
    to_int16,
)

RECORDING = (0.3 * np.random.default_rng(1).standard_normal(40 * HOP + 100)).astype(np.float32).clip(-1, 1)


@settings(max_examples=30)
@given(st.integers(0, 32), st.integers(1, 8))
def test_mel_is_the_whole_recordings(first: int, frames: int) -> None:
    found = segments_of(cut(RECORDING, first * HOP, frames)[None])
    whole = log_mel(torch.from_numpy(RECORDING))
    # The last frames see the reflection at the recording's end, where both must agree too.
    torch.testing.assert_close(found.mel[0], whole[first : first + frames], rtol=1e-4, atol=1e-4)
    expected = torch.from_numpy(RECORDING[first * HOP : (first + frames) * HOP])
    assert torch.equal(found.wave[0], expected)


def test_the_end_of_a_recording_is_reflected() -> None:
    recording = RECORDING[: 40 * HOP]
    found = segments_of(cut(recording, 32 * HOP, 8)[None])
    torch.testing.assert_close(found.mel[0], log_mel(torch.from_numpy(recording))[32:], rtol=1e-4, atol=1e-4)


@given(st.integers(0, 30 * HOP))
@settings(max_examples=20)
def test_integers_lose_half_a_step_at_most(start: int) -> None:
    exact, stored = cut(RECORDING, start, 8), cut(to_int16(RECORDING), start, 8)
    assert stored.dtype == torch.float32
    assert (exact - stored).abs().max() <= 0.5 / FULL_SCALE + 1e-7


def test_overshoot_does_not_wrap_around() -> None:
    assert to_int16(np.array([-1.5, 1.5], dtype=np.float32)).tolist() == [-32767, 32767]


def test_speakers_are_heard_equally_often() -> None:
    many = [np.full(40 * HOP, 0.1, dtype=np.float32)] * 50
    few = [np.full(40 * HOP, 0.2, dtype=np.float32)]
    drawn = random_segments([many, few], 400, 8, torch.Generator().manual_seed(1))
    heard = Counter(round(float(wave[0]), 1) for wave in drawn.wave)
    assert 150 < heard[0.1] < 250


def test_every_place_can_be_drawn() -> None:
    ramp = np.arange(8 * HOP + 3, dtype=np.int16)
    drawn = random_segments([[ramp]], 60, 8, torch.Generator().manual_seed(1))
    starts = {round(float(wave[0]) * FULL_SCALE) for wave in drawn.wave}
    assert starts == {0, 1, 2, 3}
    assert drawn.mel.shape == (60, 8, 80)


@pytest.mark.parametrize(("start", "frames"), [(-1, 4), (33 * HOP, 8)])
def test_places_outside_are_refused(start: int, frames: int) -> None:
    with pytest.raises(ValueError, match="not in a recording"):
        cut(RECORDING, start, frames)


def test_shortest_recording_that_will_do() -> None:
    assert long_enough(8 * HOP, 8)
    assert not long_enough(8 * HOP - 1, 8)
    assert not long_enough(MARGIN, 1)
