"""Training a speaker encoder: resumable bit by bit, and judged on speakers whom it never heard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_federation import features_of_tests, small_corpus, tiny_recipe
from typer.testing import CliRunner

from shared_models import console
from shared_models.config import Recipe
from shared_models.encoder_config import EncoderConfig
from shared_models.errors import CheckpointError, CollapsedError, CorpusError, RecipeError
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.speakers.encoders.encoder_file import load_encoder, save_encoder
from simulations import cli, preparation, speaker_identification
from simulations.evaluation.verification import all_pairs
from simulations.preparation import Prepared, prepare
from simulations.run_folder import RunFolder
from simulations.speaker_identification import draw, encoder_of, train_encoder, with_signal

SIZES: dict[str, dict[str, int]] = {
    "d_vector": {"hidden": 12, "layers": 1, "width": 8},
    "x_vector": {"channels": 8, "aggregated": 12, "width": 8},
}


def recipe_of(kind: str = "x_vector", loss: str = "aam", **more: Any) -> Recipe:
    chosen = {"encoder__kind": kind, "encoder__sizes": SIZES[kind], "encoder__loss": loss, "encoder__steps": 6,
              "encoder__speakers": 3, "encoder__utterances": 2, "encoder__frames": 40, "encoder__checkpoint_every": 2,
              "encoder__validate_every": 3, "encoder__trial_utterances": 2, "cloning__support": 2}  # fmt: skip
    return with_signal(tiny_recipe(corpus__utterances=3, **(chosen | more)))


def prepared(recipe: Recipe) -> Prepared:
    return prepare(recipe, features_of_tests())


@pytest.mark.parametrize(("kind", "loss"), [("d_vector", "ge2e"), ("x_vector", "aam")])
def test_a_resumed_training_ends_with_the_same_weights(kind: str, loss: str, tmp_path: Path) -> None:
    recipe = recipe_of(kind, loss)
    data = prepared(recipe)
    whole = train_encoder(RunFolder.create(tmp_path / "whole", recipe), recipe, data)
    run = RunFolder.create(tmp_path / "torn", recipe)

    def die(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(run, recipe, data, on_step=die)
    assert not (run.path / "encoder.safetensors").exists()
    torn = train_encoder(run, recipe, data)
    first, second = load_encoder(whole, kind).state_dict(), load_encoder(torn, kind).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    untrained = build_encoder(kind, **SIZES[kind]).state_dict()
    assert not any(
        torch.equal(t, untrained[n]) for n, t in first.items() if t.is_floating_point() and t.ndim > 1
    )
    lines = [
        [json.loads(line) for line in (p.parent / "metrics.jsonl").read_text().splitlines()]
        for p in (whole, torn)
    ]
    assert lines[0][-1]["step"] == 6
    assert 0 <= lines[0][-1]["eer"] <= 1
    assert [(line["step"], line.get("eer")) for line in lines[0]] == [
        (n["step"], n.get("eer")) for n in lines[1]
    ]


def test_other_speakers_checkpoints_are_refused(tmp_path: Path) -> None:
    recipe = recipe_of()
    data = prepared(recipe)
    run = RunFolder.create(tmp_path / "run", recipe)
    train_encoder(run, recipe, data)
    fewer = Prepared(recipe, dict(list(data.train.items())[:2]), data.test, [], data.cache)
    with pytest.raises(CheckpointError, match="another number of speakers"):
        train_encoder(run, recipe, fewer)


def test_it_learns_to_tell_speakers_apart(tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = recipe_of(
        "x_vector", "softmax", encoder__steps=60, encoder__lr=0.01, encoder__checkpoint_every=20
    )
    run = RunFolder.create(tmp_path / "run", recipe)
    train_encoder(run, recipe, prepared(recipe), on_metrics=lambda line: losses.append(line["loss"]))
    assert losses[-1] < 0.7 * losses[0]


def test_a_d_vector_whose_last_layer_has_died_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(config: EncoderConfig) -> Any:
        encoder = encoder_of(config)
        torch.nn.init.constant_(encoder.linear.bias, -100.0)
        return encoder

    recipe = recipe_of("d_vector", "ge2e", encoder__lr=0.003)
    run = RunFolder.create(tmp_path / "run", recipe)
    monkeypatch.setattr(speaker_identification, "encoder_of", dead)
    with (
        pytest.raises(
            CollapsedError, match=r"step 2: train anew with a lower encoder\.lr than 0\.003"
        ) as told,
        console.resumable("fedvoice again"),
    ):
        train_encoder(run, recipe, prepared(recipe))
    assert console.how_to_resume(told.value) is None
    assert not (run.path / "encoder.safetensors").exists()
    rates = [tiny_recipe(encoder__kind=kind).encoder.rate for kind in ("d_vector", "x_vector", "ecapa")]
    assert rates == [1e-4, 1e-3, 1e-3]


def test_a_step_hears_different_speakers_and_whole_excerpts() -> None:
    recipe = recipe_of(encoder__frames=2000, encoder__utterances=7)
    data = prepared(recipe)
    from client.learning.cached_features import CachedFeatures

    speakers = [CachedFeatures(own, data.cache, recipe.features) for own in data.train.values()]
    spectra, whose = draw(speakers, "filterbanks_40", recipe.encoder, torch.Generator().manual_seed(0))
    assert spectra.shape == (3, 7, 2000, 40)
    assert len(set(whose.tolist())) == 3
    assert bool(torch.isfinite(spectra).all())


def test_the_command_trains_and_prints_the_rate_of_unseen_speakers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "default_cache", features_of_tests)
    fields = {"corpus.speakers": 3, "corpus.test_speakers": 2, "corpus.utterances": 3, "cloning.support": 2,
              "encoder.steps": 2, "encoder.frames": 40, "encoder.trial_utterances": 2, "engine.device": "cpu",
              "encoder.sizes": "{hidden = 8, layers = 1, width = 6}", "encoder.loss": "ge2e"}  # fmt: skip
    changes = [argument for name, value in fields.items() for argument in ("--set", f"{name}={value}")]
    run = tmp_path / "run"
    arguments = ["speaker-encoder", "train", "--encoder", "d_vector", "--output", str(run), *changes]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "on 2 unseen speakers" in " ".join(done.stdout.split())
    again = CliRunner().invoke(cli.app, ["speaker-encoder", "train", "--resume", str(run), "--json"])
    assert json.loads(again.stdout)["eer"] is None
    refused = CliRunner().invoke(
        cli.app, ["speaker-encoder", "train", "--resume", str(run), "--set", "seed=2"]
    )
    assert isinstance(refused.exception, RecipeError)


def test_sizes_that_an_encoder_does_not_have_are_told() -> None:
    with pytest.raises(RecipeError, match="do not fit a x_vector"):
        with_signal(tiny_recipe(encoder__kind="x_vector", encoder__sizes={"heads": 4}))
    with pytest.raises(RecipeError, match="no speaker encoder 'y_vector'"):
        tiny_recipe(encoder__kind="y_vector")
    with pytest.raises(RecipeError, match="no norm to choose"):
        tiny_recipe(encoder__kind="d_vector", encoder__norm="layer")


def test_the_command_measures_a_saved_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "default_cache", features_of_tests)
    save_encoder(tmp_path / "e.safetensors", "x_vector", build_encoder("x_vector", **SIZES["x_vector"]))
    speech = small_corpus(tmp_path / "speech", train=0, test=2, utterances=2)
    arguments = ["speaker-encoder", "test", str(tmp_path / "e.safetensors"), "--encoder", "x_vector"]
    done = CliRunner().invoke(cli.app, [*arguments, "--corpus", str(speech), "--utterances", "2", "--json"])
    assert done.exit_code == 0, done.output
    (own,) = json.loads(done.stdout)["encoders"]
    assert 0 <= own["eer"]["mean"] <= 1
    assert own["eer"]["count"] == 2


def test_encoders_are_compared_on_the_same_speakers_each_as_what_its_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "default_cache", features_of_tests)
    paths = [tmp_path / f"{kind}.safetensors" for kind in SIZES]
    for kind, path in zip(SIZES, paths, strict=True):
        save_encoder(path, kind, build_encoder(kind, **SIZES[kind]))
    speech = small_corpus(tmp_path / "speech", train=0, test=3, utterances=3)
    arguments = ["speaker-encoder", "test", *map(str, [*paths, paths[1]]), "--corpus", str(speech)]
    done = CliRunner().invoke(cli.app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [own["encoder"] for own in told["encoders"]] == [*SIZES, "x_vector"]
    first, second, third = (own["eer"]["mean"] for own in told["encoders"])
    assert second == third
    assert [difference["mean"] for difference in told["differences"]] == pytest.approx([first - second, 0])
    said = " ".join(CliRunner().invoke(cli.app, arguments).stdout.split())
    assert f"equal error rate {100 * second:.2f} % on 3 unseen speakers" in said
    assert "+0.00 points (0.0 to 0.0)" in said
    alone = small_corpus(tmp_path / "alone", train=0, test=1, utterances=3)
    refused = CliRunner().invoke(cli.app, ["speaker-encoder", "test", str(paths[0]), "--corpus", str(alone)])
    assert isinstance(refused.exception, CorpusError)


def test_every_pair_of_utterances_is_a_trial_once() -> None:
    a, b = np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)[1:]
    found = all_pairs({"a": a, "b": b})
    assert sorted(found.own) == [0, 0]
    assert sorted(found.others.ravel()) == [0, 0, 0, 1]
