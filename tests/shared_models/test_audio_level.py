"""Finding speech, trimming to it and bringing it to one level."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.level import PEAK_LIMIT, find_speech, set_level, speech_span
from shared_models.audio.reading import read_audio
from shared_models.errors import AudioError

RATE = 22050


def recording(lead: float, speech: float, tail: float, noise_db: float, level: float = 0.2) -> np.ndarray:
    """Noise at ``noise_db`` under a buzz that swells four times a second, as syllables do."""
    random = np.random.default_rng(0)
    wave = random.standard_normal(round((lead + speech + tail) * RATE)) * level * 10 ** (noise_db / 20)
    t = np.arange(round(speech * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 9))
    swell = 0.3 + 0.7 * np.abs(np.sin(2 * np.pi * 2 * t + 0.5))
    start = round(lead * RATE)
    wave[start : start + len(t)] += level * buzz * swell
    return wave.astype(np.float32)


@given(
    lead=st.floats(0.2, 1.0),
    tail=st.floats(0.2, 1.0),
    noise_db=st.sampled_from([-90.0, -60.0, -45.0, -35.0]),
    level=st.sampled_from([0.002, 0.05, 0.3]),
)
@settings(max_examples=60)
def test_trims_to_fifty_milliseconds_at_any_level_and_noise(
    lead: float, tail: float, noise_db: float, level: float
) -> None:
    wave = recording(lead, 1.5, tail, noise_db, level)
    start, end = speech_span(find_speech(wave, RATE), len(wave), RATE)
    assert start / RATE == pytest.approx(lead - 0.05, abs=0.025)
    assert end / RATE == pytest.approx(lead + 1.5 + 0.05, abs=0.025)


def test_speech_without_any_pause_is_kept_whole() -> None:
    wave = recording(0, 1.5, 0, -90)
    assert speech_span(find_speech(wave, RATE), len(wave), RATE) == (0, len(wave))


def test_click_before_the_speech_is_not_speech() -> None:
    wave = recording(1.0, 1.0, 0.5, -70)
    wave[2000:2020] = 0.5
    start, _ = speech_span(find_speech(wave, RATE), len(wave), RATE)
    assert start / RATE > 0.9


@pytest.mark.parametrize("wave", [np.zeros(RATE), np.zeros(100), np.full(RATE, 1e-6)])
def test_no_speech_is_an_audio_error(wave: np.ndarray) -> None:
    with pytest.raises(AudioError):
        find_speech(wave.astype(np.float32), RATE)


@given(level=st.sampled_from([0.003, 0.05, 0.2]), target=st.floats(-40, -24))
@settings(max_examples=30)
def test_level_is_that_of_the_speech_alone(level: float, target: float) -> None:
    """Silence around the speech must not make it louder."""
    short, long = recording(0.1, 1, 0.1, -80, level), recording(2, 1, 2, -80, level)
    found = []
    for wave, lead in ((short, 0.1), (long, 2.0)):
        levelled = set_level(wave, find_speech(wave, RATE), target)
        spoken = levelled[round(lead * RATE) :][:RATE]
        found.append(20 * np.log10(np.sqrt(np.square(spoken).mean())))
    assert found == pytest.approx([target, target], abs=0.3)


def test_peaks_are_scaled_not_clipped() -> None:
    wave = recording(0.1, 1, 0.1, -80)
    loud = set_level(wave, find_speech(wave, RATE), 0.0)
    assert np.abs(loud).max() == pytest.approx(PEAK_LIMIT, abs=1e-4)
    assert np.allclose(loud / loud.max(), wave / wave.max(), atol=1e-5)


@pytest.mark.realspeech
def test_real_recordings_keep_their_speech(speech_path: Path) -> None:
    """Noise alone is cut: what goes lies 20 dB or more under what stays, and little is lost."""
    with (speech_path / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::150]
    for row in rows:
        wave, rate = read_audio(speech_path / row["path"])
        start, end = speech_span(find_speech(wave, rate), len(wave), rate)
        cut = np.concatenate([wave[:start], wave[end:]])
        assert (end - start) / len(wave) > 0.4
        if len(cut):
            assert np.square(cut).mean() < 0.01 * np.square(wave[start:end]).mean()
