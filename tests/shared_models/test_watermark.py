"""The mark: the package's own network finds it, it changes nothing above 2 kHz, and it survives what recordings go
through.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from embedded_speech import embedded_recordings

from shared_models.audio.reading import read_audio, resample
from shared_models.errors import WatermarkError
from shared_models.watermark import perth
from shared_models.watermark.detection import detect
from shared_models.watermark.perth import THRESHOLD, Watermark, load_watermark
from shared_models.watermark.spectrum import RATE, mark, resampled

SPEECH_RATE = 22_050


@pytest.fixture(scope="module")
def watermark() -> Watermark:
    return load_watermark()


@pytest.fixture(scope="module")
def speech() -> list[np.ndarray]:
    return [resample(*read_audio(path), SPEECH_RATE) for path in embedded_recordings(6)]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's own watermarker, with stand-ins for the two modules that it needs besides and does not require."""
    librosa, resources = ModuleType("librosa"), ModuleType("pkg_resources")
    librosa.resample = lambda wave, orig_sr, target_sr, **_: resampled(wave, orig_sr, target_sr)  # type: ignore[attr-defined]
    resources.resource_filename = lambda module, path: str(  # type: ignore[attr-defined]
        Path(sys.modules[module].__file__ or "").parent / path
    )
    monkeypatch.setitem(sys.modules, "librosa", librosa)
    monkeypatch.setitem(sys.modules, "pkg_resources", resources)
    for name in [name for name in sys.modules if name.partition(".")[0] == "perth"]:
        monkeypatch.delitem(sys.modules, name)
    from perth.perth_net.perth_net_implicit.perth_watermarker import PerthImplicitWatermarker

    return PerthImplicitWatermarker()


@torch.no_grad()
def test_mark_and_score_are_the_packages_own(
    watermark: Watermark, speech: list[np.ndarray], package: Any
) -> None:
    for wave in (resampled(each, SPEECH_RATE, RATE) for each in speech[:3]):
        theirs = package.apply_watermark(wave, RATE)
        ours = watermark.mark(wave, RATE)[: len(theirs)]
        # Without the first and last frames, at which the inverse transforms end in their own ways.
        inner = slice(RATE // 10, len(theirs) - RATE // 10)
        assert decibels(theirs[inner], ours[inner] - theirs[inner]) > 60
        for each in (wave, ours):
            expected = float(package.get_watermark(each, RATE, round=False).item())
            assert watermark.score(each, RATE) == pytest.approx(expected, abs=1e-4)
        assert float(package.get_watermark(watermark.mark(wave, RATE), RATE).item()) == 1.0


def test_the_mark_is_found_in_what_carries_it_and_in_nothing_else(
    watermark: Watermark, speech: list[np.ndarray]
) -> None:
    for wave in speech:
        assert watermark.score(wave, SPEECH_RATE) < THRESHOLD
        assert watermark.score(watermark.mark(wave, SPEECH_RATE), SPEECH_RATE) > 0.99


@pytest.mark.parametrize("attack", ["mp3", "opus", "8 kHz", "half as loud", "cropped"])
def test_it_survives(watermark: Watermark, speech: list[np.ndarray], attack: str) -> None:
    for wave in speech:
        marked, rate = watermark.mark(wave, SPEECH_RATE), SPEECH_RATE
        match attack:
            case "mp3":
                marked, rate = through(marked, rate, "MP3", "MPEG_LAYER_III")
            case "opus":
                marked, rate = through(resample(marked, rate, 24_000), 24_000, "OGG", "OPUS")
            case "8 kHz":
                marked = resample(resample(marked, rate, 8_000), 8_000, rate)
            case "half as loud":
                marked = marked * np.float32(0.5)
            case _:
                marked = marked[rate // 2 + 37 : rate // 2 + 37 + 2 * rate]
        assert watermark.score(marked, rate) > THRESHOLD


def test_nothing_above_what_it_is_put_into_changes_and_it_lies_below_the_speech(
    watermark: Watermark, speech: list[np.ndarray]
) -> None:
    for wave in speech:
        change = watermark.mark(wave, SPEECH_RATE) - wave
        spectrum = np.abs(np.fft.rfft(change)) ** 2
        frequencies = np.fft.rfftfreq(len(change), 1 / SPEECH_RATE)
        assert spectrum[frequencies > 2_100].sum() < 1e-4 * spectrum.sum()
        assert decibels(wave, change) > 10


def test_silence_stays_silent_and_what_is_short_is_marked(watermark: Watermark) -> None:
    silence = np.zeros(SPEECH_RATE, np.float32)
    assert not watermark.mark(silence, SPEECH_RATE).any()
    assert watermark.score(silence, SPEECH_RATE) == 0.0
    for samples in (0, 1, 2, 100, 2_000):
        wave = np.full(samples, 0.1, np.float32)
        assert watermark.mark(wave, SPEECH_RATE).shape == (samples,)


def test_a_marked_sentence_is_found_in_a_long_recording(
    watermark: Watermark, speech: list[np.ndarray]
) -> None:
    long = np.concatenate(speech * 2)
    assert not detect(long, SPEECH_RATE).marked
    found = detect(np.concatenate([long, watermark.mark(long, SPEECH_RATE), long]), SPEECH_RATE)
    assert found.marked
    assert found.seconds == pytest.approx(3 * len(long) / SPEECH_RATE)
    assert found.seconds_marked == pytest.approx(found.seconds / 3, abs=10)
    middle = [part for part in found.parts if part.marked]
    assert found.seconds / 3 - 10 < middle[0].start
    assert middle[-1].end < 2 * found.seconds / 3 + 10


@pytest.mark.parametrize("fault", ["package", "file", "weights"])
def test_without_the_packages_weights_there_is_no_mark_and_no_speech(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str
) -> None:
    if fault == "package":
        monkeypatch.setattr(perth, "find_spec", lambda _: None)
    else:
        (tmp_path / "__init__.py").touch()
        spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(perth, "find_spec", lambda _: spec)
    if fault == "weights":
        copy = tmp_path / perth._WEIGHTS
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"others")
    load_watermark.cache_clear()
    with pytest.raises(WatermarkError, match=r"resemble-perth==1\.0\.1"):
        load_watermark()


def test_what_is_not_finite_is_not_marked() -> None:
    with pytest.raises(WatermarkError, match="NaN"):
        mark(np.full(4000, 0.1, np.float32), SPEECH_RATE, lambda levels: levels * np.float32("nan"))


def through(wave: np.ndarray, rate: int, container: str, encoding: str) -> tuple[np.ndarray, int]:
    """What comes back from a lossy file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=container, subtype=encoding)
    buffer.seek(0)
    heard, found = soundfile.read(buffer, dtype="float32")
    return heard, found


def decibels(signal: np.ndarray, change: np.ndarray) -> float:
    return float(10 * np.log10(np.square(signal).sum() / np.square(change).sum()))
