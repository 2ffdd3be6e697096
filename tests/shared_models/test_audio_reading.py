"""Recordings in and out: every damaged file is one sentence, every written file is whole."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.reading import read_audio, resample, write_audio
from shared_models.errors import AudioError, StorageError


def tone(rate: int, hertz: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 1e-4), (".flac", 1e-4), (".ogg", 0.1)])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, tolerance: float) -> None:
    wave = tone(22050)
    write_audio(tmp_path / f"a{suffix}", wave, 22050)
    read, rate = read_audio(tmp_path / f"a{suffix}")
    assert rate == 22050
    assert read.dtype == np.float32
    assert read.shape == wave.shape
    assert np.abs(read - wave).max() < tolerance


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_opus_is_read_at_its_own_rate(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, tone(rate), rate, format="OGG", subtype="OPUS")
    read, found = read_audio(path)
    assert found == rate
    assert len(read) == rate // 2


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = tone(16000), -0.5 * tone(16000)
    soundfile.write(path, np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    assert np.allclose(read_audio(path)[0], (left + right) / 2, atol=1e-6)


def test_overshoot_is_clamped(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, 3 * tone(16000), 16000, subtype="FLOAT")
    assert np.abs(read_audio(path)[0]).max() == 1.0


def damaged_files(folder: Path) -> dict[str, Path]:
    names = ("text", "empty", "no_samples", "silent", "nan", "missing")
    files = {name: folder / f"{name}.wav" for name in names}
    files["text"].write_text("this is not a recording")
    files["empty"].touch()
    soundfile.write(files["no_samples"], np.zeros(0), 16000)
    soundfile.write(files["silent"], np.zeros(16000), 16000)
    soundfile.write(files["nan"], np.full(16000, np.nan), 16000, subtype="FLOAT")
    files["folder"] = folder
    return files


@pytest.mark.parametrize("kind", ["text", "empty", "no_samples", "silent", "nan", "missing", "folder"])
def test_damaged_file_is_one_sentence_that_names_it(tmp_path: Path, kind: str) -> None:
    path = damaged_files(tmp_path)[kind]
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    rate=st.sampled_from([8000, 16000, 24000, 44100, 48000]),
    new_rate=st.sampled_from([16000, 22050]),
    hertz=st.floats(100, 2500),
)
@settings(max_examples=25)
def test_resampled_tone_is_the_tone_at_the_new_rate(rate: int, new_rate: int, hertz: float) -> None:
    found, expected = resample(tone(rate, hertz), rate, new_rate), tone(new_rate, hertz)
    assert abs(len(found) - len(expected)) <= 1
    assert np.abs(found[500:-500] - expected[500 : len(found) - 500]).max() < 0.01


def test_tone_above_the_new_band_is_removed() -> None:
    assert np.abs(resample(tone(48000, 15000), 48000, 22050)[500:-500]).max() < 0.01


def test_unknown_suffix_is_an_audio_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"\.xyz"):
        write_audio(tmp_path / "a.xyz", tone(16000), 16000)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_full_disk_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"before")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"a\.wav"):
        write_audio(path, tone(16000), 16000)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(StorageError):
        write_audio(tmp_path / "taken" / "a.wav", tone(16000), 16000)


@pytest.mark.realspeech
@pytest.mark.parametrize("corpus", ["speech_path", "kokoro_path"])
def test_real_files_have_the_length_that_their_corpus_states(
    request: pytest.FixtureRequest, corpus: str
) -> None:
    root: Path = request.getfixturevalue(corpus)
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::200]
    for row in rows:
        wave, rate = read_audio(root / row["path"])
        assert len(wave) / rate == pytest.approx(float(row["seconds"]), abs=0.011)
        assert np.abs(wave).max() <= 1.0
