"""The pitch tracker against tones whose pitch is known, and against other trackers on real speech."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.audio.pitch import UNVOICED_HZ, interpolate_unvoiced, track_pitch
from shared_models.config import FeatureConfig

CENT = math.log(2) / 1200


def voice(f0: np.ndarray, harmonics: int = 12) -> torch.Tensor:
    """A buzz whose fundamental at each sample is ``f0``."""
    phase = 2 * np.pi * np.cumsum(f0) / SAMPLE_RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))
    return torch.from_numpy((0.1 * wave).astype(np.float32))


def frame_samples(frames: int) -> np.ndarray:
    return (np.arange(frames) + 0.5) * HOP


@given(hertz=st.floats(75, 500))
@settings(max_examples=40)
def test_steady_voice_is_found_within_five_cents(hertz: float) -> None:
    pitch = track_pitch(voice(np.full(12_000, hertz)))
    inner = slice(3, -3)
    assert pitch.voiced[inner].all()
    assert (pitch.log_f0[inner] - math.log(hertz)).abs().max() < 5 * CENT


@pytest.mark.parametrize("octaves", [1.0, -1.0])
def test_glide_is_found_at_the_centre_of_each_frame(octaves: float) -> None:
    """An octave in a second: a frame of delay would show as 14 cents, half a frame as 7."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    f0 = 180 * 2 ** (octaves * seconds)
    pitch = track_pitch(voice(f0))
    truth = np.log(180) + octaves * math.log(2) * frame_samples(len(pitch.log_f0)) / SAMPLE_RATE
    inner = slice(4, -4)
    error = (pitch.log_f0.numpy() - truth)[inner] / CENT
    assert abs(error.mean()) < 2
    assert np.abs(error).max() < 10


def test_octaves_are_kept_apart_over_a_wide_glide() -> None:
    f0 = np.geomspace(80, 480, 2 * SAMPLE_RATE)
    pitch = track_pitch(voice(f0))
    truth = f0[frame_samples(len(pitch.log_f0)).astype(int)]
    assert np.abs(pitch.log_f0.numpy()[4:-4] - np.log(truth)[4:-4]).max() < 0.03


def test_missing_fundamental_is_heard() -> None:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    wave = sum(0.1 * np.sin(2 * np.pi * 150 * k * t) for k in (2, 3, 4, 5))
    pitch = track_pitch(torch.from_numpy(wave.astype(np.float32)))
    assert (pitch.log_f0[4:-4] - math.log(150)).abs().max() < 10 * CENT


def test_voicing_turns_on_and_off_with_the_voice() -> None:
    generator = torch.Generator().manual_seed(0)
    wave = 0.01 * torch.randn(3 * SAMPLE_RATE // 2, generator=generator)
    first, last = 40 * HOP, 80 * HOP
    wave[first:last] += voice(np.full(last - first, 140.0))
    voiced = track_pitch(wave).voiced
    assert not voiced[:37].any()
    assert voiced[43:77].all()
    assert not voiced[83:].any()


def test_noise_and_silence_are_unvoiced_and_get_the_neutral_pitch() -> None:
    noise = 0.1 * torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    for wave in (torch.zeros(20_000), noise):
        pitch = track_pitch(wave)
        assert pitch.voiced.float().mean() < 0.05
    silent = track_pitch(torch.zeros(20_000))
    assert torch.allclose(silent.log_f0, torch.tensor(math.log(UNVOICED_HZ)))
    assert silent.log_f0.dtype == torch.float32
    assert silent.voiced.dtype == torch.bool


def test_unvoiced_frames_are_interpolated_in_log() -> None:
    found = np.exp(interpolate_unvoiced(np.array([0.0, 100.0, 0.0, 400.0, 0.0])))
    assert found == pytest.approx([100, 100, 200, 400, 400])


@given(samples=st.integers(600, 9000))
@settings(max_examples=20)
def test_one_value_a_mel_frame(samples: int) -> None:
    pitch = track_pitch(voice(np.full(samples, 200.0)))
    assert len(pitch.log_f0) == len(pitch.voiced) == samples // HOP
    assert torch.isfinite(pitch.log_f0).all()


def test_level_does_not_matter() -> None:
    wave = voice(np.geomspace(100, 250, 20_000))
    assert torch.allclose(track_pitch(wave).log_f0, track_pitch(wave * 0.01).log_f0, atol=1e-4)


def real_clips(root: Path, prefix: str, count: int) -> list[torch.Tensor]:
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker_id"].startswith(prefix)]
    chosen = rows[:: len(rows) // count][:count]
    return [torch.from_numpy(load_speech(root / row["path"], FeatureConfig()).wave) for row in chosen]


@pytest.mark.realspeech
@pytest.mark.parametrize("prefix", ["ls", "so"])
def test_agrees_with_probabilistic_yin_on_real_speech(speech_path: Path, prefix: str) -> None:
    librosa = pytest.importorskip("librosa")
    gross = both_voiced = 0
    for wave in real_clips(speech_path, prefix, 3):
        pitch = track_pitch(wave)
        padded = np.pad(wave.numpy(), 384)  # so that pyin's uncentred frames are the mel's
        f0, voiced, _ = librosa.pyin(
            padded, fmin=65, fmax=600, sr=SAMPLE_RATE, frame_length=1024, hop_length=HOP, center=False
        )
        frames = min(len(f0), len(pitch.voiced))
        both = voiced[:frames] & pitch.voiced.numpy()[:frames]
        difference = np.abs(np.log(f0[:frames][both]) - pitch.log_f0.numpy()[:frames][both])
        gross += int((difference > math.log(1.2)).sum())
        both_voiced += int(both.sum())
    assert both_voiced > 300
    assert gross / both_voiced < 0.05


@pytest.mark.realspeech
def test_same_track_every_time(speech_path: Path) -> None:
    (wave,) = real_clips(speech_path, "ls", 1)
    first, second = track_pitch(wave), track_pitch(wave.clone())
    assert torch.equal(first.log_f0, second.log_f0)
    assert torch.equal(first.voiced, second.voiced)
