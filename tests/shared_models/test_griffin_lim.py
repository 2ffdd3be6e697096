"""Griffin-Lim: a mel's wave has that mel, at the same time, on every run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_models.audio.extraction import load_speech
from shared_models.audio.first_phases import first_phases
from shared_models.audio.mel import HOP, N_FFT, PADDING, SAMPLE_RATE, log_mel, magnitude, mel_of_magnitude
from shared_models.config import FeatureConfig
from shared_models.errors import RecipeError
from shared_models.vocoders import GriffinLim, build_vocoder
from shared_models.vocoders.griffin_lim import find_wave, magnitude_of_mel

FIRST_ANGLES = [-2.281037, 1.695120, 0.257444, 0.103846, -1.173258, -0.548173]


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


def test_the_search_starts_alike_whatever_follows() -> None:
    long = first_phases(50, 513, seed=4)
    assert np.array_equal(long[:7], first_phases(7, 513, seed=4))
    assert not np.array_equal(long, first_phases(50, 513, seed=5))
    assert np.allclose(np.abs(long), 1, atol=1e-6)
    # As many in each quarter of the circle as chance allows.
    counts = np.histogram(np.angle(long), 4, (-np.pi, np.pi))[0]
    assert np.abs(counts / long.size - 0.25).max() < 0.02
    spectrum = torch.from_numpy(np.random.default_rng(1).random((1, 50, 513), np.float32))
    none = find_wave(spectrum, iterations=0), find_wave(spectrum[:, :20], iterations=0)
    alike = 20 * HOP - N_FFT
    assert torch.allclose(none[0][:, :alike], none[1][:, :alike], atol=1e-6)


def test_first_phases_are_the_ones_that_every_release_has_had() -> None:
    angles = np.angle(first_phases(2, 3)).ravel()
    assert angles == pytest.approx(FIRST_ANGLES, abs=1e-5)


def test_an_iteration_is_the_papers_in_double_precision() -> None:
    """Project on consistent spectra, step beyond by the momentum, keep the direction: transform by transform."""
    spectrum = magnitude(buzz(0.3))[None].double()
    frames, window = spectrum.shape[1], np.hanning(N_FFT + 1)[:-1]
    guess, before = first_phases(frames, 513) * spectrum[0].numpy(), np.zeros((frames, 513))

    def wave_of(guess: np.ndarray) -> np.ndarray:
        wave, weight = (np.zeros((frames - 1) * HOP + N_FFT) for _ in range(2))
        for number, frame in enumerate(np.fft.irfft(guess) * window):
            wave[number * HOP : number * HOP + N_FFT] += frame
            weight[number * HOP : number * HOP + N_FFT] += window**2
        return wave / weight.clip(1e-2)

    for _ in range(5):
        wave = wave_of(guess)
        consistent = np.stack([np.fft.rfft(wave[n * HOP : n * HOP + N_FFT] * window) for n in range(frames)])
        ahead = consistent + 0.99 * (consistent - before)
        guess, before = spectrum[0].numpy() * ahead / np.abs(ahead).clip(1e-8), consistent
    expected = wave_of(guess)[PADDING : PADDING + frames * HOP]
    assert np.abs(find_wave(spectrum, iterations=5)[0].numpy() - expected).max() < 1e-6


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
