"""``fedvoice bench norms``: both trainings see the same, and each is the one that it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_federation import features_of_tests, tiny_recipe
from typer.testing import CliRunner

from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.speakers.encoders.encoder_file import load_encoder
from simulations import cli
from simulations.benchmarks.norms import measure_norms
from simulations.preparation import prepare
from simulations.run_folder import RunFolder
from simulations.speaker_identification import train_encoder, with_signal

SIZES = {"channels": 8, "aggregated": 12, "width": 8}


def recipe_of(**more: Any) -> Recipe:
    chosen = {"encoder__kind": "x_vector", "encoder__sizes": SIZES, "encoder__steps": 2, "encoder__speakers": 3,
              "encoder__utterances": 2, "encoder__frames": 40, "encoder__trial_utterances": 2,
              "cloning__support": 2}  # fmt: skip
    return with_signal(tiny_recipe(corpus__utterances=3, **(chosen | more)))


def test_each_seed_trains_both_and_a_repetition_trains_nothing(tmp_path: Path) -> None:
    recipe = recipe_of()
    data = prepare(recipe, features_of_tests())
    told: list[str] = []

    def stage(title: str) -> Any:
        told.append(title)
        return lambda _done, _total: told.append("step")

    found = measure_norms(recipe, data, tmp_path, [1, 2], stage)
    assert told.count("step") == 2 * 2 * 2
    alone = recipe.override({"encoder.norm": "layer", "seed": 2})
    run = RunFolder.create(tmp_path / "alone", alone)
    lines: list[dict[str, Any]] = []
    train_encoder(run, alone, data, on_metrics=lines.append)
    assert found.eer["layer"][1] == pytest.approx(lines[-1]["eer"])
    assert found.loss["layer"][1] == pytest.approx(lines[-1]["loss"])
    assert found.loss["layer"] != found.loss["batch"]
    differences = [layer - batch for layer, batch in zip(found.eer["layer"], found.eer["batch"], strict=True)]
    assert found.difference.mean == pytest.approx(sum(differences) / 2)
    kept = load_encoder(tmp_path / "batch-1" / "encoder.safetensors", "x_vector")
    assert any("running_var" in name for name in kept.state_dict())
    told.clear()
    assert measure_norms(recipe, data, tmp_path, [1, 2], stage) == found
    assert "step" not in told
    with pytest.raises(RecipeError, match="a training of another recipe"):
        measure_norms(recipe.override({"encoder.steps": 4}), data, tmp_path, [1], stage)
    with pytest.raises(RecipeError, match="has no norms"):
        measure_norms(with_signal(tiny_recipe(encoder__kind="d_vector")), data, tmp_path, [1], stage)


def test_the_command_prints_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    changes = {"corpus.speakers": 3, "corpus.test_speakers": 2, "corpus.utterances": 3, "encoder.frames": 40,
               "encoder.trial_utterances": 2, "engine.workers": 1}  # fmt: skip
    arguments = [part for path, value in changes.items() for part in ("--set", f"{path}={value}")]
    result = CliRunner().invoke(
        cli.app, ["bench", "norms", "--steps", "1", "--seeds", "1", "--channels", "8", "--json", *arguments]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told["eer"]) == {"batch", "layer"}
    assert told["difference"]["count"] == 1
