"""What arms start from: the weights of a base, where the recipe names one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tiny_federation import shaken, tiny_model, tiny_recipe

from server.checkpoints import latest_checkpoint
from shared_models.base_model import BaseModel, load_base, write_base
from shared_models.config import Recipe
from shared_models.errors import CheckpointError, RecipeError
from shared_models.partition import weights_hash
from simulations.pretraining import pretrain, starting_weights


def kept_base(path: Path, recipe: Recipe, *, rounded: bool = False) -> BaseModel:
    model = shaken(tiny_model(recipe))
    if rounded:
        model.load_shared_vector(model.shared_vector().half().float())
    base = BaseModel(model, recipe, weights_hash(model.shared_vector()))
    write_base(path, base)
    return base


def unwatched(_: str) -> Callable[[int, int], None]:
    raise AssertionError("nothing is prepared or trained")


def test_arms_start_from_the_base_without_what_the_recipe_does_without(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    base = kept_base(path, tiny_recipe(aligner__learn="auto"))
    recipe = tiny_recipe(aligner__learn="never", pretraining__start=str(path))
    weights = starting_weights(recipe)
    own = tiny_model(recipe)
    assert weights is not None
    own.load_shared_vector(weights)
    theirs = dict(base.model.model.named_parameters())
    names = [tensor.name for tensor in own.partition.shared]
    assert 0 < len(names) < len(base.model.partition.shared)
    for name, parameter in zip(names, own.shared_parameters(), strict=True):
        assert torch.equal(parameter, theirs[name])
    assert starting_weights(tiny_recipe()) is None


def test_without_steps_the_start_is_kept_for_those_who_train_alone(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    recipe = tiny_recipe(pretraining__start=str(path))
    base = kept_base(path, recipe)

    def told(_: dict[str, Any]) -> None:
        raise AssertionError("no round was trained")

    weights = pretrain(recipe, tmp_path / "pretraining", tmp_path, unwatched, told)
    assert weights is not None
    assert torch.equal(weights, base.model.shared_vector())
    kept = latest_checkpoint(tmp_path / "pretraining")
    assert kept is not None
    assert torch.equal(kept.weights, weights)
    assert load_base(tmp_path / "pretraining").hash == base.hash
    path.unlink()
    resumed = pretrain(recipe, tmp_path / "pretraining", tmp_path, unwatched, told)
    assert resumed is not None
    assert torch.equal(resumed, weights)


def test_what_is_told_to_others_holds_no_folder() -> None:
    secret = "/srv/secret"
    recipe = tiny_recipe(
        corpus__path=f"{secret}/corpus", pretraining__corpus=f"{secret}/public", pretraining__start=f"{secret}/base",
        evaluation__vocoder=f"{secret}/v.safetensors",
    )  # fmt: skip
    assert "secret" in recipe.model_dump_json()
    assert "secret" not in recipe.without_folders().model_dump_json()
    plain = tiny_recipe(pretraining__start="packaged")
    assert plain.without_folders() == plain


def test_a_base_of_another_size_is_refused_by_the_tensor(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    kept_base(path, tiny_recipe())
    recipe = tiny_recipe(model__hidden=24, pretraining__start=str(path))
    with pytest.raises(RecipeError, match=r"no shared tensor '\S+' of the shape"):
        starting_weights(recipe)
    with pytest.raises(CheckpointError):
        starting_weights(tiny_recipe(pretraining__start=str(tmp_path / "nothing")))


@pytest.mark.parametrize("rounded", [True, False])
def test_a_base_is_kept_in_half_precision_where_that_loses_nothing(rounded: bool, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    base = kept_base(path, tiny_recipe(), rounded=rounded)
    with safe_open(path, "pt") as file:
        assert file.get_tensor("weights").dtype is (torch.float16 if rounded else torch.float32)
    assert load_base(path).hash == base.hash


def test_what_is_named_fresh_begins_at_random_and_everything_else_is_the_bases(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    theirs = dict(kept_base(path, tiny_recipe()).model.model.named_parameters())
    recipe = tiny_recipe(
        model__source="harmonics", pretraining__start=str(path), pretraining__fresh=["acoustic.source.*"]
    )
    weights, untrained, own = starting_weights(recipe), tiny_model(recipe), tiny_model(recipe)
    assert weights is not None
    own.load_shared_vector(weights)
    at_random = dict(untrained.model.named_parameters())
    names = [tensor.name for tensor in own.partition.shared]
    for name, parameter in zip(names, own.shared_parameters(), strict=True):
        fresh = name.startswith("acoustic.source.")
        assert torch.equal(parameter, at_random[name] if fresh else theirs[name])
    with pytest.raises(RecipeError, match=r"no shared tensor 'acoustic\.source\..*pretraining\.fresh"):
        starting_weights(recipe.override({"pretraining.fresh": []}))
