"""Centralised training of a vocoder: interrupted anywhere, it ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_vocoder import CORPUS, SMALL

from shared_models.audio.alignment import read_alignment
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import write_audio
from shared_models.config import Recipe, parse_recipe
from shared_models.errors import CheckpointError, CorpusError, RecipeError
from shared_models.recipes.vocoders import find_vocoder_recipe, vocoder_recipe_names
from shared_models.vocoders import NeuralVocoder, load_vocoder
from shared_models.vocoders.from_recipe import dimensions_of, generator_of
from simulations.corpora import open_corpus
from simulations.run_folder import RunFolder
from simulations.vocoder_training import train_vocoder
from simulations.vocoder_waves import VocoderWaves, prepare_waves


def _recipe(**vocoder: Any) -> Recipe:
    data = {"name": "tiny", "corpus": CORPUS, "vocoder": SMALL | vocoder}
    return parse_recipe(data, where="test")


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> VocoderWaves:
    return prepare_waves(_recipe(), tmp_path_factory.mktemp("waves"))


@pytest.fixture(scope="module")
def undisturbed(waves: VocoderWaves, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    run = RunFolder.create(tmp_path_factory.mktemp("run"), _recipe())
    return train_vocoder(run, _recipe(), waves)


def _same(first: Path, second: Path) -> None:
    """Bit for bit, tensor by tensor; the order of a safetensors header is up to chance."""
    ours, theirs = load_file(first), load_file(second)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _figures(vocoder: Path) -> list[dict[str, Any]]:
    lines = (vocoder.parent / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_waves_are_what_the_features_see(waves: VocoderWaves) -> None:
    corpus = open_corpus(_recipe().corpus)
    speakers = corpus.speakers("train")
    assert set(waves.train) == set(speakers)
    assert set(waves.test) == set(corpus.speakers("test"))
    name, recordings = next(iter(waves.train.items()))
    utterance = speakers[name][0]
    phones = read_alignment(utterance.alignment) if utterance.alignment else None
    expected = load_speech(utterance.audio, _recipe().features, phones).wave
    assert np.abs(recordings[0] / 32767.0 - expected).max() < 1e-4
    assert isinstance(recordings[0], np.memmap)


def test_waves_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare_waves(_recipe(), tmp_path)
    built = (tmp_path / "waves.i16").stat().st_mtime_ns
    monkeypatch.setattr("simulations.vocoder_waves.load_speech", None)
    again = prepare_waves(_recipe(), tmp_path)
    assert (tmp_path / "waves.i16").stat().st_mtime_ns == built
    assert [len(w) for r in again.train.values() for w in r] == [
        len(w) for r in first.train.values() for w in r
    ]


def test_waves_of_another_corpus_are_replaced(tmp_path: Path) -> None:
    prepare_waves(_recipe(), tmp_path)
    other = _recipe().override({"corpus.utterances": 3})
    assert all(len(recordings) == 3 for recordings in prepare_waves(other, tmp_path).train.values())


def test_waves_cut_short_are_noticed(tmp_path: Path) -> None:
    prepare_waves(_recipe(), tmp_path)
    with (tmp_path / "waves.i16").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(CorpusError, match="cut short"):
        prepare_waves(_recipe(), tmp_path)


def test_damaged_recordings_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = ["path,text,speaker_id,split"]
    for speaker, split in (("a", "train"), ("b", "test")):
        for number in range(2):
            wave = 0.1 * rng.standard_normal(SAMPLE_RATE).astype(np.float32)
            write_audio(tmp_path / f"{speaker}{number}.wav", wave, SAMPLE_RATE)
            rows.append(f"{speaker}{number}.wav,hello,{speaker},{split}")
    (tmp_path / "a1.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    data = {"corpus": {"path": str(tmp_path)}, "vocoder": SMALL}
    recipe = parse_recipe(data, where="test")
    found = prepare_waves(recipe, tmp_path / "waves")
    assert len(found.train["a"]) == 1
    assert any("a1.wav" in name for name, _ in found.left_out)
    with pytest.raises(CorpusError, match="segment_frames"):
        found.long_enough(1000)


def test_the_file_holds_the_average_and_says_where_from(undisturbed: Path) -> None:
    vocoder = load_vocoder(undisturbed)
    assert vocoder.kind == "vocos"
    assert vocoder.notes["recipe"] == "tiny"
    assert vocoder(torch.zeros(7, 80)).shape == (7 * 256,)


def test_metrics_name_every_validation(undisturbed: Path) -> None:
    figures = _figures(undisturbed)
    assert [line["step"] for line in figures] == [2, 4, 6, 8]
    assert ["validation_mel" in line for line in figures] == [False, True, False, True]
    assert ["adversarial" in line for line in figures] == [False, True, True, True]


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_an_interrupted_training_ends_the_same(
    stop: int, waves: VocoderWaves, undisturbed: Path, tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path / "run", _recipe())

    def interrupt(done: int, _total: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_vocoder(run, _recipe(), waves, interrupt)
    assert not (run.path / "vocoder.safetensors").exists()
    resumed = train_vocoder(run, _recipe(), waves)
    _same(resumed, undisturbed)
    assert _figures(resumed) == _figures(undisturbed)


def test_a_damaged_checkpoint_costs_only_its_own_steps(
    waves: VocoderWaves, undisturbed: Path, tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path / "run", _recipe())
    train_vocoder(run, _recipe(), waves)
    newest, before = sorted((run.path / "checkpoints").glob("*.safetensors"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-5000])
    _same(train_vocoder(run, _recipe(), waves), undisturbed)
    assert _figures(run.path / "vocoder.safetensors") == _figures(undisturbed)
    for path in (newest, before):
        path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="start anew"):
        train_vocoder(run, _recipe(), waves)


@pytest.mark.slow
def test_a_killed_training_resumes(tmp_path: Path) -> None:
    """Kill -9 in the middle of a step, then --resume: the same file as without."""
    chosen = SMALL | {"steps": 60, "discriminator_weights": []}
    settings = [f"vocoder.{name}={json.dumps(value)}" for name, value in chosen.items()]
    settings += [f"corpus.{name}={value}" for name, value in CORPUS.items()]
    changes = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "simulations.cli", "vocoder", "train"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen([*command, *changes, "--output", str(killed)], env=environment) as process:
        deadline = time.monotonic() + 240
        while not list((killed / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, "--resume", str(killed)], env=environment, check=True)
    subprocess.run([*command, *changes, "--output", str(whole)], env=environment, check=True)
    name = "vocoder.safetensors"
    _same(killed / name, whole / name)


@pytest.mark.parametrize("name", vocoder_recipe_names())
def test_shipped_recipes_build(name: str) -> None:
    recipe = find_vocoder_recipe(name)
    assert recipe.name == name
    assert recipe.description
    generator = generator_of(recipe.vocoder, recipe.seed)
    millions = sum(p.numel() for p in generator.parameters()) / 1e6
    assert millions < 20
    assert dimensions_of(recipe.vocoder)


def test_seeds_decide_the_weights() -> None:
    config = _recipe().vocoder
    first, again, other = (generator_of(config, seed).head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"discriminator_weights": [1.0, 2.0]}, "vocoder.discriminator_weights.*give 1 numbers"),
        ({"discriminator_widths": [0.5, 0.5]}, "vocoder.discriminator_widths.*give 1 numbers"),
        ({"discriminator_widths": [1.5]}, "less than or equal to 1"),
        ({"kind": "hifigan_v2"}, "a size of vocos"),
        ({"betas": [0.9, 1.0]}, "vocoder.betas.*below 1"),
        ({"kind": "wavenet"}, "vocoder.kind"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        _recipe(**changes)


def test_unknown_recipes_are_named() -> None:
    with pytest.raises(RecipeError, match="vocos_small"):
        find_vocoder_recipe("wavenet")


def test_training_begins_with_another_vocoder_also_when_it_is_resumed(
    waves: VocoderWaves, undisturbed: Path, tmp_path: Path
) -> None:
    recipe = _recipe(steps=1, generator_lr=1e-9, average=0.0, checkpoint_every=1)
    run = RunFolder.create(tmp_path / "run", recipe)
    start = tmp_path / "start.safetensors"
    start.write_bytes(undisturbed.read_bytes())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_vocoder(run, recipe, waves, on_metrics=killed, start=start)
    start.unlink()
    ours, theirs = load_file(train_vocoder(run, recipe, waves)), load_file(undisturbed)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)


def test_training_that_ran_out_of_minutes_leaves_a_vocoder_and_goes_on_to_the_same_end(
    waves: VocoderWaves, undisturbed: Path, tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path / "run", _recipe())
    lines: list[dict[str, Any]] = []
    for _ in range(2):
        vocoder = train_vocoder(run, _recipe(), waves, on_metrics=lines.append, minutes=0.0)
        assert isinstance(load_vocoder(vocoder), NeuralVocoder)
    # At least one step each time, or it would never end.
    assert [line["step"] for line in lines] == [1, 2]
    _same(train_vocoder(run, _recipe(), waves), undisturbed)


def test_a_start_of_another_size_is_refused(waves: VocoderWaves, undisturbed: Path, tmp_path: Path) -> None:
    recipe = _recipe(blocks=2)
    run = RunFolder.create(tmp_path / "run", recipe)
    with pytest.raises(CorpusError, match="another vocoder than the recipe describes"):
        train_vocoder(run, recipe, waves, start=undisturbed)
