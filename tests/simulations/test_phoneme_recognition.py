"""Training a base's recogniser of phonemes: it learns, it resumes bit for bit, and the base stays as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_federation import features_of_tests, random_speech, same, small_corpus, tiny_model, tiny_recipe
from typer.testing import CliRunner

from shared_models.base_model import BaseModel, load_base, write_base
from shared_models.errors import CheckpointError, CorpusError
from shared_models.features import Features, collate
from shared_models.partition import weights_hash
from simulations import cli, phoneme_recognition
from simulations.phoneme_recognition import (
    Settings,
    Speech,
    draw,
    phonemes_of_frames,
    share_read,
    train_recogniser,
)

SETTINGS = Settings(steps=6, batch=3, window=40, channels=8, texts=3)


def base_of(learn: str = "never") -> BaseModel:
    model = tiny_model(tiny_recipe(aligner__learn=learn))
    return BaseModel(model, tiny_recipe(aligner__learn=learn), weights_hash(model.shared_vector()))


def speakers(aligned: bool = True) -> dict[str, list[Features]]:
    """Two who say phonemes of which each has a band of its own."""
    spoken = {name: random_speech(3, seed=seed, aligned=aligned) for seed, name in enumerate("ab")}
    return {name: [replace(u, phonemes=u.phonemes % 79 + 1) for u in own] for name, own in spoken.items()}


def telling(speech: Features) -> Features:
    """Speech whose every frame says which phoneme sounds."""
    mel = torch.nn.functional.one_hot(phonemes_of_frames(speech), 80).float() * 6 - 8
    return replace(speech, mel=mel)


def test_it_learns_to_read_what_can_be_read(tmp_path: Path) -> None:
    told = {name: [telling(speech) for speech in own] for name, own in speakers().items()}
    settings = replace(SETTINGS, steps=100, channels=24, lr=1e-2)
    found = train_recogniser(base_of(), told, tmp_path, settings)
    assert found.judges.recogniser is not None
    assert share_read(found.judges.recogniser, found, told) > 0.9
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 100]
    assert lines[-1]["loss"] < lines[0]["loss"]
    kept = load_base(tmp_path / "base.safetensors")
    assert kept.hash == base_of().hash
    assert kept.judges.recogniser is not None
    short = {tuple(s.phonemes.tolist()) for own in told.values() for s in own}
    assert {tuple(text[text > 0].tolist()) for text in kept.judges.recogniser.texts} <= short


def test_a_training_that_was_killed_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phoneme_recognition, "_KEEP_EVERY", 2)
    monkeypatch.setattr(phoneme_recognition, "_REPORT_EVERY", 1)

    class KilledError(Exception):
        pass

    def die(line: dict[str, float]) -> None:
        if line["step"] == 5:
            raise KilledError

    whole = train_recogniser(base_of(), speakers(), tmp_path / "whole", SETTINGS)
    with pytest.raises(KilledError):
        train_recogniser(base_of(), speakers(), tmp_path / "killed", SETTINGS, die)
    steps: list[int] = []
    again = train_recogniser(
        base_of(), speakers(), tmp_path / "killed", SETTINGS, lambda line: steps.append(line["step"])
    )
    assert steps == [5, 6]
    assert whole.judges.recogniser is not None
    assert again.judges.recogniser is not None
    assert same(whole.judges.recogniser.state_dict(), again.judges.recogniser.state_dict())
    kept = [load_base(tmp_path / name / "base.safetensors").judges.tensors for name in ("whole", "killed")]
    assert same(*kept)


def test_another_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    train_recogniser(base_of(), speakers(), tmp_path, SETTINGS)
    for settings, others in ((replace(SETTINGS, steps=7), speakers()), (SETTINGS, {"a": speakers()["a"]})):
        with pytest.raises(CheckpointError, match="holds a training of another base"):
            train_recogniser(base_of(), others, tmp_path, settings)


def test_alignments_come_from_the_recordings_or_the_bases_aligner_once() -> None:
    base, unaligned = base_of("auto"), speakers(aligned=False)
    aligner, asked = base.model.model.aligner, []
    assert aligner is not None
    aligner.register_forward_pre_hook(lambda *_: asked.append(1))
    speech = Speech(base, unaligned)
    first = speech.utterance(0, 1).durations
    assert first is not None
    assert int(first.sum()) == len(unaligned["a"][1].mel)
    assert torch.equal(first, base.model.model.durations(collate([unaligned["a"][1]], None))[0][0])
    speech.utterance(0, 1)
    assert len(asked) == 2, "once for each of the two ways, and not again"
    with pytest.raises(CorpusError, match="has no aligner"):
        Speech(base_of(), unaligned)


def test_excerpts_are_of_the_phonemes_that_sound_in_them() -> None:
    told = {name: [telling(speech) for speech in own] for name, own in speakers().items()}
    mel, mask, said = draw(Speech(base_of(), told), SETTINGS, torch.Generator().manual_seed(2))
    assert mel.shape[:2] == mask.shape == said.shape
    # Whatever noise and tilt were added: the band of the phoneme that sounds is the loudest.
    assert bool((mel.argmax(2) == said)[mask].all())


def test_the_command_gives_a_base_its_recogniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    path = tmp_path / "tiny.safetensors"
    write_base(path, base_of())
    corpus = small_corpus(tmp_path / "corpus", train=2, test=1, utterances=2)
    where = ["--base", str(path), "--corpus", str(corpus), "--output", str(tmp_path / "run")]
    words = ["recogniser", *where, "--steps", "2"]
    done = CliRunner().invoke(cli.app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert 0 <= figures["share_read"] <= 1
    found = load_base(Path(figures["base"]))
    assert found.judges.recogniser is not None
    assert found.hash == base_of().hash
    assert found.recipe.cloning.words == 0.03
    shown = CliRunner().invoke(cli.app, words)
    assert "of the frames of" in shown.stdout
