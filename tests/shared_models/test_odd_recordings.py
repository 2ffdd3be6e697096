"""Recordings as people have them: every format, odd rates, offsets, wrong scales, inverted channels, cut short."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from phone_recordings import phone_recording
from recorded_sentences import buzzing

from shared_models.audio import decoding
from shared_models.audio.decoding import decode, length_of
from shared_models.audio.extraction import extract, load_speech
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import encode_audio, one_channel, read_audio, resample
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError
from shared_models.utterance import Utterance

RATE = 16_000
CONFIG = FeatureConfig()


def sentence(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A buzz of a voice's pitch with silence before and after, at any rate."""
    time_ = np.arange(round(rate * seconds)) / rate
    buzz = sum(np.sin(2 * np.pi * 140 * k * time_) / k for k in range(1, 9)) * (0.6 + 0.4 * np.sin(9 * time_))
    quiet = np.random.default_rng(0).normal(0, 1e-4, round(rate * 0.3))
    return np.concatenate([quiet, 0.15 * buzz, quiet]).astype(np.float32)


def write(path: Path, wave: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, wave, rate, **options)
    return path


def frames(path: Path) -> int:
    return len(extract(Utterance("u", "s", path, "a cat"), CONFIG).mel)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".wav", {"subtype": "GSM610"}), (".wav", {"subtype": "ULAW"}), (".wav", {"subtype": "IMA_ADPCM"}),
        (".wav", {"subtype": "PCM_24"}), (".wav", {"subtype": "DOUBLE"}), (".aiff", {}), (".AIF", {"format": "AIFF"}),
        (".au", {}), (".caf", {}), (".w64", {}), (".rf64", {}), (".sph", {"format": "NIST"}), (".mp3", {}),
        (".opus", {"format": "OGG", "subtype": "OPUS"}), (".oga", {"format": "OGG"}), (".flac", {}),
    ],
)  # fmt: skip
def test_whatever_libsndfile_writes_is_read_with_its_length(
    tmp_path: Path, suffix: str, options: dict[str, str]
) -> None:
    wave = sentence()
    path = write(tmp_path / f"a{suffix}", wave, **options)
    read, rate = read_audio(path)
    assert rate == RATE
    assert len(read) / rate == pytest.approx(len(wave) / RATE, abs=0.1)
    assert length_of(path) == pytest.approx(len(read) / rate, abs=0.1)
    assert np.sqrt(np.square(read).mean()) == pytest.approx(np.sqrt(np.square(wave).mean()), rel=0.1)


def test_an_ordinary_recording_is_changed_in_no_bit(tmp_path: Path) -> None:
    """By what this module did before it knew of odd ones: mean of the channels, clamped."""
    stereo = np.stack([sentence(), 0.4 * np.roll(sentence(), 3)], axis=1)
    for name, wave in {"mono.wav": sentence(), "stereo.flac": stereo, "lossy.ogg": 1.4 * stereo}.items():
        path = write(tmp_path / name, wave)
        plain = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1, dtype=np.float32)
        recording = one_channel(decode(path), path)
        assert np.array_equal(recording.wave, np.clip(plain, -1, 1))
        assert recording.notes == ()


@pytest.mark.parametrize("rate", [44_056, 22_051, 44_101, 48_001, 37_799, 999_983])
def test_an_odd_rate_costs_no_more_than_a_usual_one(rate: int) -> None:
    time_ = np.arange(4 * rate) / rate
    wave = (0.5 * np.sin(2 * np.pi * 440 * time_)).astype(np.float32)
    started = time.process_time()
    heard = resample(wave, rate, SAMPLE_RATE)
    assert time.process_time() - started < 2
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / SAMPLE_RATE)
    assert abs(len(heard) - 4 * SAMPLE_RATE) <= 1
    assert np.abs(heard[500:-500] - expected[500:-500]).max() < 0.01


@pytest.mark.parametrize("rate", [1, 100, 3_999, 1_000_001])
def test_a_rate_that_nobody_records_at_is_a_wrong_header(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", sentence(), rate)
    for read in (decode, length_of):
        with pytest.raises(AudioError, match=r"a\.wav says that it has .* samples a second.*export it again"):
            read(path)


@pytest.mark.parametrize("offset", [0.5, -0.2, 0.03])
def test_an_offset_is_taken_off_before_anything_is_measured(tmp_path: Path, offset: float) -> None:
    plain = write(tmp_path / "plain.wav", sentence(), subtype="FLOAT")
    moved = write(tmp_path / "moved.wav", sentence() + np.float32(offset), subtype="FLOAT")
    speech, without = load_speech(moved, CONFIG), load_speech(plain, CONFIG)
    assert (len(speech.wave), speech.first_sample) == (len(without.wave), without.first_sample)
    assert np.abs(speech.wave - without.wave).max() < 1e-3
    assert [kind for kind, _ in one_channel(decode(moved), moved).notes] == ["offset"]


@pytest.mark.parametrize("level", [0.5, -1.0, 0.001, 0.0])
def test_a_constant_is_silence(tmp_path: Path, level: float) -> None:
    path = write(tmp_path / "a.wav", np.full(RATE, level, np.float32), subtype="FLOAT")
    with pytest.raises(AudioError, match="is silent") as caught:
        read_audio(path)
    assert caught.value.kind == "silent"


@pytest.mark.parametrize("scale", [5.0, 32_768.0, 2.0**28])
def test_samples_of_another_scale_are_brought_to_this_one(tmp_path: Path, scale: float) -> None:
    path = write(tmp_path / "a.wav", sentence() * np.float32(10 * scale), subtype="FLOAT")
    recording = one_channel(decode(path), path)
    (note,) = recording.notes
    assert note[0] == "out of range"
    assert "where 1 is full scale" in note[1]
    shape = sentence() / np.abs(sentence()).max()
    assert np.abs(recording.wave - shape).max() < 1e-4, "scaled, and not cut to a square"


@pytest.mark.parametrize(
    ("value", "said"), [(1e30, "another type"), (np.nan, "not numbers"), (np.inf, "not numbers")]
)
def test_what_no_microphone_gives_is_refused(tmp_path: Path, value: float, said: str) -> None:
    wave = sentence()
    wave[100] = value
    with pytest.raises(AudioError, match=said):
        read_audio(write(tmp_path / "a.wav", wave, subtype="FLOAT"))


def test_channels_that_cancel_one_another_are_told_apart(tmp_path: Path) -> None:
    wave = sentence()
    path = write(tmp_path / "a.wav", np.stack([0.7 * wave, -0.7 * wave + 1e-5], axis=1), subtype="FLOAT")
    recording = one_channel(decode(path), path)
    assert [kind for kind, _ in recording.notes] == ["inverted"]
    assert np.allclose(np.abs(recording.wave), np.abs(0.7 * wave), atol=1e-4)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".au", ".w64"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_short_is_found(tmp_path: Path, suffix: str, share: float) -> None:
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    path = write(tmp_path / f"a{suffix}", np.tile(sentence(), 3), **options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(AudioError, match=r"cut short|ends after|cannot be read"):
        decode(path)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_without_a_length_is_no_damage(tmp_path: Path, size: int) -> None:
    """As programs write that cannot go back to the header, into a pipe."""
    path = write(tmp_path / "a.wav", sentence())
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(decode(path).samples) == len(sentence())


def test_a_talk_that_nobody_cut_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", np.tile(sentence(), 100))
    with pytest.raises(AudioError, match=r"longer than 60 s: cut it into sentences"):
        decode(path, longest=60)


@pytest.mark.parametrize(
    "error", [ValueError("?"), MemoryError(), ZeroDivisionError(), AssertionError(), KeyError(1)]
)
def test_whatever_a_reader_throws_is_about_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    path = write(tmp_path / "a.wav", sentence())
    monkeypatch.setattr(decoding.soundfile, "SoundFile", fail)
    monkeypatch.setattr(decoding.soundfile, "info", fail)
    for read in (decode, length_of, frames):
        with pytest.raises(AudioError, match=r"a\.wav cannot be read as audio"):
            read(path)


def test_an_unforeseen_error_after_reading_is_about_one_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared_models.audio import extraction

    def fail(*_: object) -> None:
        raise RecursionError("deep")

    monkeypatch.setattr(extraction, "phonemize", fail)
    with pytest.raises(AudioError, match=r"a\.wav cannot be used \(RecursionError: deep\)"):
        frames(write(tmp_path / "a.wav", sentence()))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.m4a", "aac", 44_100), ("a.aac", "aac", 16_000), ("a.webm", "libopus", 48_000), ("a.mp4", "aac", 48_000),
     ("renamed.wav", "aac", 22_050)],
)  # fmt: skip
def test_what_phones_record_is_read(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    wave = sentence(rate=rate)
    made = phone_recording(
        tmp_path / ("x.m4a" if name == "renamed.wav" else f"x{Path(name).suffix}"), codec, wave, rate
    )
    path = made.rename(tmp_path / name)
    read, found = read_audio(path)
    assert found == rate
    assert len(read) / rate == pytest.approx(len(wave) / rate, abs=0.1)
    assert length_of(path) == pytest.approx(len(wave) / rate, abs=0.1)
    assert abs(frames(path) - frames(write(tmp_path / "plain.wav", wave, rate))) <= 6


def test_a_phones_file_that_was_cut_short_is_found(tmp_path: Path) -> None:
    path = phone_recording(tmp_path / "a.m4a", "aac", np.tile(sentence(), 4), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"convert the \.m4a to WAV"):
        decode(path)


def test_more_channels_than_the_decoder_can_hold_are_refused(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="hexadecagonal")
        frame = av.AudioFrame.from_ndarray(
            np.ones((1, 16 * 4000), np.int16), format="s16", layout="hexadecagonal"
        )
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(AudioError, match="claims 16 channels"):
        decode(path)


def test_without_the_decoder_a_phones_file_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memo.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(1000))
    monkeypatch.setitem(sys.modules, "av", None)
    for read in (decode, length_of):
        with pytest.raises(AudioError, match=r"memo\.m4a is MP4.*fedvoice\[media\].*convert it to WAV"):
            read(path)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    pytest.importorskip("av")
    secret = write(tmp_path / "secret.wav", sentence())
    for content in (f"#EXTM3U\n#EXTINF:1\n{secret}\n", f"ffconcat version 1.0\nfile {secret}\n"):
        path = tmp_path / "list.m4a"
        path.write_text(content)
        with pytest.raises(AudioError, match=r"list\.m4a cannot be read"):
            decode(path)


@pytest.mark.parametrize(
    "suffix", [".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf"]
)
def test_every_format_that_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    wave = buzzing(0.5)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode_audio(wave, SAMPLE_RATE, suffix))
    read, rate = read_audio(path)
    assert len(read) / rate == pytest.approx(len(wave) / SAMPLE_RATE, abs=0.1)
