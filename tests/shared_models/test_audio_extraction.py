"""From an utterance to features: lengths agree, levels agree, and what cannot be used says why."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_sentences import RATE, buzzing, record

from shared_models.audio.alignment import Phone, write_phones
from shared_models.audio.extraction import extract, load_speech
from shared_models.audio.mel import FRAME_RATE, SAMPLE_RATE, log_mel
from shared_models.audio.reading import write_audio
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError
from shared_models.features import Features
from shared_models.text.phonemes import encode, phonemize
from shared_models.utterance import Utterance

CONFIG = FeatureConfig(trim_silence=True, level_dbfs=-24.0)
WHOLE = FeatureConfig(trim_silence=False, level_dbfs=None)


def check_shapes(features: Features) -> None:
    frames = len(features.mel)
    assert features.mel.shape == (frames, 80)
    assert features.log_f0.shape == features.voiced.shape == features.energy.shape == (frames,)
    assert features.phonemes.dtype == torch.int64
    for tensor in (features.mel, features.log_f0, features.energy):
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()
    if features.durations is not None:
        assert features.durations.shape == features.phonemes.shape
        assert features.durations.sum() == frames


def test_features_of_a_recording(tmp_path: Path) -> None:
    utterance = record(tmp_path, "one", seconds=1.5)
    features = extract(utterance, CONFIG)
    check_shapes(features)
    assert features.utterance_id == "one"
    assert features.durations is None
    assert torch.equal(features.phonemes, encode(phonemize("a cat")))
    assert len(features.mel) / FRAME_RATE == pytest.approx(1.6, abs=0.04)  # 50 ms kept on each side
    assert features.voiced.float().mean() > 0.85
    assert features.log_f0.median() == pytest.approx(math.log(140), abs=0.01)


def test_settings_are_honoured(tmp_path: Path) -> None:
    utterance = record(tmp_path, "one")
    whole = extract(utterance, WHOLE)
    assert len(whole.mel) == 2 * SAMPLE_RATE // 256
    quiet, loud = (extract(utterance, FeatureConfig(level_dbfs=level)) for level in (-40.0, -30.0))
    assert (loud.energy - quiet.energy).median() == pytest.approx(math.log(10) / 2, abs=0.01)


def test_the_recording_level_does_not_matter(tmp_path: Path) -> None:
    wave = buzzing(1.2)
    mels = []
    for gain in (0.1, 1.0):
        path = tmp_path / f"{gain}.flac"
        write_audio(path, gain * wave, RATE)
        mels.append(extract(Utterance(path.stem, "anna", path, "a cat"), CONFIG).mel)
    assert (mels[0] - mels[1])[:, :40].abs().median() < 0.05


def test_alignment_gives_phonemes_and_durations(tmp_path: Path) -> None:
    """The phone boundary at the change of pitch must still be there after the silence is cut."""
    low, high = buzzing(0.6, 110)[RATE // 4 : -RATE // 4], buzzing(0.6, 220)[RATE // 4 : -RATE // 4]
    noise = 1e-4 * np.random.default_rng(1).standard_normal(RATE // 2).astype(np.float32)
    path = tmp_path / "a.wav"
    write_audio(path, np.concatenate([noise, low, high, noise]), RATE)
    table = tmp_path / "a.phones"
    phones = [Phone(0, 0.5, "sil"), Phone(0.5, 1.1, "m"), Phone(1.1, 1.7, "ə"), Phone(1.7, 2.2, "sil")]
    write_phones(table, phones)
    features = extract(Utterance("a", "anna", path, "ignored", alignment=table), CONFIG)
    check_shapes(features)
    assert torch.equal(features.phonemes, encode(["sil", "m", "ə", "sil"]))
    assert features.durations is not None
    assert features.durations.tolist() == pytest.approx([4, 52, 52, 4], abs=1)
    boundary = int(features.durations[:2].sum())
    assert features.log_f0[boundary - 6 : boundary - 2].mean() == pytest.approx(math.log(110), abs=0.03)
    assert features.log_f0[boundary + 2 : boundary + 6].mean() == pytest.approx(math.log(220), abs=0.03)


def test_untrimmed_recording_keeps_its_alignment(tmp_path: Path) -> None:
    utterance = record(tmp_path, "one", seconds=1.5)
    table = tmp_path / "one.phones"
    write_phones(table, [Phone(0.25, 1.75, "ə"), Phone(1.75, 2.0, "sil")])
    features = extract(replace(utterance, alignment=table), WHOLE)
    check_shapes(features)
    assert features.durations is not None
    assert features.durations.tolist() == pytest.approx([22, 129, 21], abs=1)


def unusable(folder: Path) -> dict[str, Utterance]:
    good = record(folder, "good")
    long_table, bad_table = folder / "long.phones", folder / "bad.phones"
    write_phones(long_table, [Phone(0.2, 9.0, "ə")])
    bad_table.write_text("nonsense\n")
    write_audio(folder / "noise_only.wav", np.full(RATE, 1e-4, dtype=np.float32), RATE)
    return {
        "too short": record(folder, "short", seconds=0.15),
        "no text": replace(good, text="  "),
        "no letters": replace(good, text="..."),
        "more phonemes than frames": replace(good, text="this sentence is much too long for it " * 12),
        "alignment of a longer recording": replace(good, alignment=long_table),
        "damaged alignment": replace(good, alignment=bad_table),
        "missing alignment": replace(good, alignment=folder / "missing.TextGrid"),
        "missing audio": replace(good, audio=folder / "missing.wav"),
        "silence": replace(good, audio=folder / "noise_only.wav"),
    }


KINDS = [
    "too short", "no text", "no letters", "more phonemes than frames", "alignment of a longer recording",
    "damaged alignment", "missing alignment", "missing audio", "silence",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_unusable_utterance_is_one_sentence_that_names_the_file(tmp_path: Path, kind: str) -> None:
    utterance = unusable(tmp_path)[kind]
    with pytest.raises(AudioError) as caught:
        extract(utterance, CONFIG)
    message = str(caught.value)
    assert str(utterance.audio) in message or str(utterance.alignment) in message
    assert "\n" not in message


@pytest.mark.realspeech
@pytest.mark.parametrize("corpus", ["speech_path", "kokoro_path"])
def test_real_recordings(request: pytest.FixtureRequest, corpus: str) -> None:
    root: Path = request.getfixturevalue(corpus)
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:: 400 if corpus == "speech_path" else 200]
    for row in rows:
        utterance = Utterance(row["utterance_id"], row["speaker_id"], root / row["path"], row["text"])
        features = extract(utterance, CONFIG)
        check_shapes(features)
        assert 0.4 < len(features.mel) / FRAME_RATE / float(row["seconds"]) <= 1.0
        assert 0.2 < features.voiced.float().mean() < 0.95
        assert 60 < features.log_f0[features.voiced].exp().median() < 350
        speech = load_speech(utterance.audio, CONFIG)
        assert torch.allclose(log_mel(torch.from_numpy(speech.wave)), features.mel)
        assert np.abs(speech.wave).max() <= 1.0
