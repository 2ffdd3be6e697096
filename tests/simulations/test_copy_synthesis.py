"""Copies are judged against the recording that they are copies of, and the recording beside them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_federation import small_corpus

from shared_models.audio.mel import HOP
from shared_models.audio.reading import Wave, read_audio
from shared_models.audio.similarity import Embedding
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, CorpusError, RecipeError
from shared_models.utterance import Utterance
from shared_models.vocoders import build_vocoder
from simulations import cli
from simulations.benchmarks import vocoders as bench
from simulations.evaluation.copy_synthesis import (
    Judges,
    Original,
    gain,
    itself,
    judge_copies,
    load_originals,
    summarise,
    through,
)

needs_jiwer = pytest.mark.skipif(importlib.util.find_spec("jiwer") is None, reason="jiwer is not installed")
needs_judges = pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("jiwer", "moonshine_voice", "resemblyzer", "speechmos", "distillmos", "onnxruntime")
    ),
    reason="not every judge is installed",
)


class Ear:
    name = "ear"

    def transcribe(self, wave: Wave, rate: int) -> str:
        return "something" if wave.any() and rate else ""


class Verifier:
    name = "verifier"

    def embed(self, wave: Wave, rate: int) -> Embedding:
        """The loudness of each third."""
        if not wave.any():
            raise AudioError("silent")
        thirds = [float(np.abs(third).mean()) for third in np.array_split(wave, 3)]
        return np.asarray(thirds, dtype=np.float32) * np.float32(rate > 0)


class Loudness:
    name = "loudness"

    def score(self, wave: Wave, rate: int) -> float:
        return float(np.abs(wave).max()) * (rate > 0)


JUDGES = Judges(Ear(), Verifier(), [Loudness()])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Utterance]]:
    corpus = small_corpus(tmp_path_factory.mktemp("corpus"), train=1, test=2)
    return bench.unseen_recordings(str(corpus), utterances=2)


@pytest.fixture(scope="module")
def originals(recordings: dict[str, list[Utterance]]) -> dict[str, list[Original]]:
    return load_originals(recordings, FeatureConfig())


def test_recordings_are_whole_frames_of_unseen_queries(
    recordings: dict[str, list[Utterance]], originals: dict[str, list[Original]]
) -> None:
    assert [len(own) for own in recordings.values()] == [2, 2]
    assert all(u.split == "test" and u.role == "query" for own in recordings.values() for u in own)
    for original in originals["k_af_kore"]:
        assert len(original.wave) == len(original.mel) * HOP


@needs_jiwer
def test_the_perfect_copy_has_no_distortion_and_griffin_lim_some(
    originals: dict[str, list[Original]],
) -> None:
    waves = {original.mel.shape: original.wave for own in originals.values() for original in own}

    class Perfect:
        def __call__(self, mel):  # type: ignore[no-untyped-def]
            import torch

            return torch.from_numpy(waves[mel.shape])

    perfect = judge_copies(through(Perfect()), originals, JUDGES)
    assert perfect == judge_copies(itself, originals, JUDGES)
    copied = judge_copies(through(build_vocoder("griffin_lim")), originals, JUDGES)
    for speaker in originals:
        assert perfect[speaker]["mcd"] == pytest.approx(0, abs=1e-5)
        assert perfect[speaker]["similarity"] == pytest.approx(1)
        assert copied[speaker]["mcd"] > 0.3
        assert perfect[speaker]["wer"] == copied[speaker]["wer"] == 1
    means = summarise(copied)
    assert set(means) == {"mcd", "wer", "cer", "similarity", "loudness"}
    assert means["mcd"].count == 2
    lost = gain(copied, perfect)["mcd"]
    assert lost.mean == pytest.approx(means["mcd"].mean)
    assert gain(copied, copied)["loudness"].high == 0


@needs_jiwer
def test_a_copy_without_sound_is_judged_too(originals: dict[str, list[Original]]) -> None:
    found = judge_copies(lambda original: 0 * original.wave, originals, JUDGES)["k_af_kore"]
    assert (found["similarity"], found["wer"], found["loudness"]) == (0, 1, 0)
    assert found["mcd"] > 5


def test_unusable_recordings(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="none of the recordings"):
        load_originals({"s": [Utterance("u", "s", tmp_path / "bad.wav", "hello")]}, FeatureConfig())


@pytest.mark.parametrize("names", [["griffin_lim", "griffin_lim"], ["real.safetensors"]])
def test_names_that_cannot_be_told_apart(names: list[str]) -> None:
    with pytest.raises(RecipeError, match="named once"):
        bench._labels(names)


def test_files_are_called_by_their_stems_unless_those_are_the_same() -> None:
    labels = bench._labels(
        ["griffin_lim", "a/vocos.safetensors", "b/vocos.safetensors", "c/melgan.safetensors"]
    )
    assert list(labels) == ["griffin_lim", "a/vocos.safetensors", "b/vocos.safetensors", "melgan"]
    assert labels["melgan"] == "c/melgan.safetensors"


@needs_jiwer
def test_the_anchor_comes_first_and_copies_are_kept(
    recordings: dict[str, list[Utterance]], tmp_path: Path
) -> None:
    one = {speaker: own[:1] for speaker, own in list(recordings.items())[:1]}
    found = bench.measure_vocoders(["griffin_lim"], one, judges=JUDGES, threads=(1,), audio=tmp_path)
    assert [row.name for row in found.rows] == ["real", "griffin_lim"]
    assert found.rows[0].real_time_factors == {}
    assert found.rows[1].real_time_factors[1] > 0
    plain = bench.as_json(found)
    assert plain["vocoders"]["real"]["over"]["griffin_lim"]["mcd"]["mean"] < 0
    kept = sorted(tmp_path.glob("*.wav"))
    assert [path.name.rpartition("-")[2] for path in kept] == ["griffin_lim.wav", "real.wav"]
    assert len({len(read_audio(path)[0]) for path in kept}) == 1


@pytest.mark.slow
@needs_judges
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = small_corpus(tmp_path / "corpus", train=1, test=2)
    arguments = ["bench", "vocoders", "griffin_lim", "--corpus", str(corpus), "--speakers", "1"]
    assert cli.run([*arguments, "--utterances", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["speakers"], found["recordings"], found["corpus"]) == (1, 1, "corpus")
    real, copied = (found["vocoders"][name]["metrics"] for name in ("real", "griffin_lim"))
    assert set(real) == {"mcd", "wer", "cer", "similarity", "dnsmos", "distillmos"}
    assert 1 < copied["distillmos"]["mean"] < 5
    assert copied["mcd"]["mean"] > real["mcd"]["mean"]
    assert cli.run([*arguments, "--utterances", "1"]) == 0
    assert "DistillMOS" in capsys.readouterr().out
