"""Griffin-Lim: a mel's wave has that mel, at the same time, on every run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import HOP, SAMPLE_RATE, log_mel, mel_of_magnitude
from shared_models.config import FeatureConfig
from shared_models.errors import RecipeError
from shared_models.vocoders import GriffinLim, build_vocoder
from shared_models.vocoders.griffin_lim import magnitude_of_mel


def buzz(seconds: float = 1.5) -> torch.Tensor:
    """A voice-like glide with syllables and a little noise; its length is no multiple of the hop."""
    t = np.arange(round(seconds * SAMPLE_RATE) + 77) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(120 * 2 ** (0.5 * np.sin(3 * t))) / SAMPLE_RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 25))
    wave = 0.1 * wave * np.abs(np.sin(2 * np.pi * 2.5 * t)) ** 2
    noise = np.random.default_rng(0).standard_normal(len(t))
    return torch.from_numpy((wave + 0.001 * noise).astype(np.float32))


def lag(first: np.ndarray, second: np.ndarray, smoothing: int = 1024) -> int:
    """Samples that ``second`` comes later than ``first``, by envelopes too smooth to show the pitch."""
    window = np.hanning(smoothing)
    envelopes = [np.convolve(w.astype(np.float64) ** 2, window, mode="same") for w in (first, second)]
    spectra = [np.fft.rfft(e - e.mean(), 2 * len(first)) for e in envelopes]
    correlation = np.fft.irfft(spectra[0].conj() * spectra[1])
    best = int(correlation.argmax())
    return best if best < len(first) else best - 2 * len(first)


def test_wave_is_as_long_as_its_mel_and_not_shifted() -> None:
    wave = buzz()
    mel = log_mel(wave)
    rebuilt = GriffinLim()(mel)
    assert rebuilt.shape == (len(mel) * HOP,)
    assert abs(lag(wave[: len(rebuilt)].numpy(), rebuilt.numpy())) < HOP // 8


def test_round_trip_keeps_the_mel() -> None:
    mel = log_mel(buzz())
    again = log_mel(GriffinLim()(mel))
    loud = mel > mel.max() - 6  # within 52 dB of the loudest bin
    assert (again - mel)[loud].abs().mean() < 0.2
    shifted = (again[1:] - mel[:-1])[loud[:-1]].abs().mean()
    assert (again - mel)[loud].abs().mean() < 0.7 * shifted


def test_more_iterations_come_closer() -> None:
    mel = log_mel(buzz(0.8))
    errors = [(log_mel(GriffinLim(iterations=n)(mel)) - mel).abs().mean().item() for n in (1, 8, 60)]
    assert errors[0] > errors[1] > errors[2]


def test_momentum_helps() -> None:
    mel = log_mel(buzz())
    plain, fast = (
        (log_mel(GriffinLim(iterations=32, momentum=m)(mel)) - mel).abs().mean() for m in (0.0, 0.99)
    )
    assert fast < plain


def test_same_wave_whatever_ran_before_and_the_global_generator_is_left_alone() -> None:
    mel = log_mel(buzz(0.5))
    torch.manual_seed(1)
    first = GriffinLim()(mel)
    after_first = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after_first)
    torch.manual_seed(2)
    assert torch.equal(GriffinLim()(mel), first)
    assert not torch.equal(GriffinLim(seed=1)(mel), first)


def test_magnitude_is_non_negative_and_has_the_mel() -> None:
    mel = log_mel(buzz(0.5))
    spectrum = magnitude_of_mel(mel, iterations=100)
    assert (spectrum >= 0).all()
    assert (mel_of_magnitude(spectrum) - mel).abs().mean() < 0.01
    few = (mel_of_magnitude(magnitude_of_mel(mel, iterations=1)) - mel).abs().mean()
    assert (mel_of_magnitude(spectrum) - mel).abs().mean() < few


def test_batch_equals_one_by_one() -> None:
    mels = torch.stack([log_mel(buzz(0.4)), log_mel(buzz(0.4).flip(0))])
    assert torch.allclose(GriffinLim()(mels)[1], GriffinLim()(mels[1]), atol=1e-4)


def test_a_single_frame_and_silence_give_finite_sound() -> None:
    assert GriffinLim()(torch.zeros(1, 80)).shape == (HOP,)
    silent = GriffinLim()(torch.full((20, 80), -11.513))
    assert silent.abs().max() < 1e-3
    assert torch.isfinite(silent).all()


def test_vocoder_by_name() -> None:
    assert build_vocoder("griffin_lim")(torch.zeros(4, 80)).shape == (4 * HOP,)
    with pytest.raises(RecipeError, match="griffin_lim"):
        build_vocoder("wavenet")


@pytest.mark.realspeech
def test_real_speech_is_not_shifted(speech_path: Path) -> None:
    with (speech_path / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::900]
    lags = []
    for row in rows:
        wave = load_speech(speech_path / row["path"], FeatureConfig()).wave
        rebuilt = GriffinLim()(log_mel(torch.from_numpy(wave))).numpy()
        lags.append(lag(wave[: len(rebuilt)], rebuilt))
    assert abs(np.mean(lags)) < HOP // 8
