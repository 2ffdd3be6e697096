"""The phase search in NumPy makes the wave of the one in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.mel import HOP, SAMPLE_RATE, magnitude
from shared_models.export.phase_search import BLOCK, find_wave
from shared_models.vocoders import griffin_lim

# The transforms round differently, and each of 32 iterations starts from what the last one made of that: where
# a bin is all but empty, its direction is decided by rounding. Both waves are about 80 dB from the one of double
# precision, which is as much as can be asked for: single samples move by more than 1e-4.
CLOSE_DB = 60.0


def voice_like(frames: int, seed: int = 0) -> torch.Tensor:
    """``(1, frames * HOP)``: harmonics of a moving pitch, syllables and noise."""
    time = np.arange(frames * HOP) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(120 * 2 ** (0.5 * np.sin(3 * time))) / SAMPLE_RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 25)) * np.abs(np.sin(8 * time))
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return torch.from_numpy(0.1 * tone + 0.003 * noise).float()[None]


def decibels(true: np.ndarray, other: np.ndarray) -> float:
    error = np.square(true - other, dtype=np.float64).mean()
    return float(10 * np.log10(np.square(true, dtype=np.float64).mean() / error))


@pytest.mark.parametrize("frames", [5, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_wave_is_that_of_torch_at_any_place_in_a_block(frames: int) -> None:
    spectrum = magnitude(voice_like(frames))
    expected = griffin_lim.find_wave(spectrum).numpy()
    found = find_wave(spectrum.numpy(), HOP)
    assert found.shape == expected.shape == (1, frames * HOP)
    assert found.dtype == np.float32
    assert decibels(expected, found) > CLOSE_DB


@settings(max_examples=15)
@given(
    frames=st.integers(1, 90),
    iterations=st.integers(0, 6),
    momentum=st.sampled_from([0.0, 0.5, 0.99]),
    seed=st.integers(0, 99),
)
def test_few_iterations_agree_to_rounding_whatever_the_spectrum(
    frames: int, iterations: int, momentum: float, seed: int
) -> None:
    spectrum = np.random.default_rng(seed).random((2, frames, 513), np.float32)
    expected = griffin_lim.find_wave(torch.from_numpy(spectrum), iterations, momentum, seed).numpy()
    assert np.abs(find_wave(spectrum, HOP, iterations, momentum, seed) - expected).max() < 1e-4


def test_rows_of_a_batch_are_searched_alone_and_what_is_given_is_left_as_it_was() -> None:
    spectrum = magnitude(torch.cat([voice_like(30), voice_like(30, 1)])).numpy()
    before = spectrum.copy()
    together = find_wave(spectrum, HOP)
    assert np.array_equal(together[1:], find_wave(spectrum[1:], HOP))
    assert np.array_equal(spectrum, before)


def test_other_sizes_of_window_and_silence() -> None:
    """With the true magnitudes of a tone the search finds a wave that has them."""
    n_fft, hop = 256, 64
    window = np.hanning(n_fft + 1)[:-1]
    tone = np.sin(np.arange(4000) * 0.3) * np.linspace(0, 1, 4000)

    def spectrum_of(wave: np.ndarray) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(wave, n_fft)[::hop]
        return np.abs(np.fft.rfft(frames * window)).astype(np.float32)

    target = spectrum_of(tone)
    padded = np.zeros(len(target) * hop + n_fft - hop, np.float32)
    place = (n_fft - hop) // 2
    padded[place : place + len(target) * hop] = find_wave(target[None], hop, 60)[0]
    inside = slice(3, -3)  # the padding is not what was there
    found = spectrum_of(padded)[inside]
    assert np.linalg.norm(found - target[inside]) < 0.1 * np.linalg.norm(target[inside])
    assert (find_wave(np.zeros((1, 9, 513), np.float32), HOP) == 0).all()
