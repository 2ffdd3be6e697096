"""The mel against references that share no code with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.energy import log_energy
from shared_models.audio.mel import (
    FRAME_RATE,
    HOP,
    LOG_FLOOR,
    N_FFT,
    N_MELS,
    SAMPLE_RATE,
    log_mel,
    magnitude,
    mel_basis,
    mel_of_magnitude,
)
from shared_models.errors import AudioError


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def hertz_to_slaney(hertz: np.ndarray) -> np.ndarray:
    """Slaney's scale: 3 mels per 200 Hz up to 1 kHz, then 27 mels per factor of 6.4."""
    linear = 3 * hertz / 200
    return np.where(hertz < 1000, linear, 15 + 27 * np.log(np.maximum(hertz, 1e-9) / 1000) / math.log(6.4))


def slaney_to_hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, 200 * mels / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))


def reference_filters() -> np.ndarray:
    edges = slaney_to_hertz(np.linspace(0, hertz_to_slaney(np.array(8000.0)), N_MELS + 2))
    bins = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    filters = np.zeros((len(bins), N_MELS))
    for m in range(N_MELS):
        low, centre, high = edges[m : m + 3]
        triangle = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
        filters[:, m] = np.maximum(0, triangle) * 2 / (high - low)
    return filters


def reference_magnitude(wave: np.ndarray) -> np.ndarray:
    """Frame by frame in float64, straight from the definition."""
    padded = np.concatenate([wave[1:385][::-1], wave, wave[-385:-1][::-1]]).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    starts = range(0, len(padded) - 1024 + 1, 256)
    return np.stack([np.sqrt(np.abs(np.fft.rfft(padded[s : s + 1024] * window)) ** 2 + 1e-9) for s in starts])


def test_log_mel_equals_a_float64_reference() -> None:
    wave = noise(20_000)
    expected = np.log(np.maximum(reference_magnitude(wave.numpy()) @ reference_filters(), 1e-5))
    assert np.abs(log_mel(wave).numpy() - expected).max() < 2e-4


def test_log_mel_equals_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    wave = noise(30_000, seed=1).numpy()
    padded = np.pad(wave, 384, mode="reflect")
    spectrum = np.abs(librosa.stft(padded, n_fft=1024, hop_length=256, center=False))
    filters = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    expected = np.log(np.maximum(filters @ spectrum, 1e-5)).T
    assert np.abs(log_mel(torch.from_numpy(wave)).numpy() - expected).max() < 1e-3


def test_filters_equal_the_definition_and_leave_nothing_above_8_khz() -> None:
    assert np.abs(mel_basis().numpy() - reference_filters()).max() < 1e-6
    assert mel_basis()[math.ceil(8000 / SAMPLE_RATE * N_FFT) :].abs().sum() == 0


@given(samples=st.integers(385, 9000))
@settings(max_examples=40)
def test_frames_are_samples_by_hop(samples: int) -> None:
    assert log_mel(noise(samples)).shape == (samples // HOP, N_MELS)


@pytest.mark.parametrize("frame", [5, 11, 20])
def test_frame_is_centred_half_a_hop_after_its_start(frame: int) -> None:
    """A click at a frame's centre weighs equally on both neighbours; half a frame off, it would not."""
    wave = torch.zeros(40 * HOP)
    wave[frame * HOP + HOP // 2] = 1.0
    norms = magnitude(wave).square().sum(dim=-1)
    assert norms.argmax() == frame
    assert norms[frame - 1] == pytest.approx(norms[frame + 1].item(), rel=1e-3)
    wave = torch.zeros(40 * HOP)
    wave[frame * HOP] = 1.0
    norms = magnitude(wave).square().sum(dim=-1)
    assert norms[frame - 1] == pytest.approx(norms[frame].item(), rel=1e-3)


def test_tone_lands_in_its_filter() -> None:
    t = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    mel = log_mel(0.5 * torch.sin(2 * math.pi * 1000 * t))
    centre = slaney_to_hertz(np.linspace(0, hertz_to_slaney(np.array(8000.0)), N_MELS + 2))[1:-1]
    assert abs(centre[int(mel[20].argmax())] - 1000) < 40


def test_silence_is_the_floor() -> None:
    # sqrt(1e-9) a bin would add up to more than the floor in no filter
    assert torch.allclose(log_mel(torch.zeros(4096)), torch.tensor(LOG_FLOOR), atol=1e-4)
    assert pytest.approx(math.log(1e-5)) == LOG_FLOOR


@given(gain=st.floats(0.5, 4.0))
@settings(max_examples=20)
def test_gain_adds_its_log_to_mel_and_energy(gain: float) -> None:
    wave = noise(6000)
    quiet, loud = magnitude(wave), magnitude(wave * gain)
    assert torch.allclose(mel_of_magnitude(loud), mel_of_magnitude(quiet) + math.log(gain), atol=2e-3)
    assert torch.allclose(log_energy(loud), log_energy(quiet) + math.log(gain), atol=1e-3)


def test_batch_equals_one_by_one() -> None:
    waves = torch.stack([noise(5000, seed) for seed in range(6)]).reshape(2, 3, 5000)
    assert torch.allclose(log_mel(waves)[1, 2], log_mel(waves[1, 2]), atol=1e-5)


def test_energy_is_the_norm_of_the_magnitude() -> None:
    wave = noise(8000).numpy()
    expected = np.log(np.linalg.norm(reference_magnitude(wave), axis=1))
    assert np.abs(log_energy(magnitude(torch.from_numpy(wave))).numpy() - expected).max() < 1e-4


def test_gradient_reaches_the_wave() -> None:
    wave = noise(3000).requires_grad_()
    log_mel(wave).sum().backward()
    assert wave.grad is not None
    assert torch.isfinite(wave.grad).all()
    assert wave.grad.abs().sum() > 0


def test_too_short_a_wave_is_an_audio_error() -> None:
    with pytest.raises(AudioError, match="384 samples"):
        log_mel(torch.zeros(384))
    assert pytest.approx(86.1328, abs=1e-4) == FRAME_RATE
