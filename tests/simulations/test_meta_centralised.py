"""Meta-learning on pooled recordings: a step is down the mean of its tasks, and training goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import features_of_tests, tiny_recipe

from client.learning.cached_features import CachedFeatures
from client.learning.material import Material
from client.learning.meta_steps import task_loss
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.federated_model import federated_voice_model
from shared_models.partition import weights_hash
from shared_models.seeds import generator
from simulations.meta_centralised import train_meta_centralised
from simulations.preparation import Prepared, prepare
from simulations.run_folder import RunFolder
from simulations.simulate import run_arm


def prepared(**changes: Any) -> Prepared:
    fields = {
        "federation__algorithm": "meta_tts_centralised", "federation__rounds": 2, "federation__cohort": 2,
        "client__outer_steps": 1, "corpus__speakers": 2, "client__decay_from": 1.0, "speaker__sources": ["table"],
        "speaker__conditioning": "add", "speaker__personal": "embedding",
    }  # fmt: skip
    return prepare(tiny_recipe(**fields | changes), features_of_tests())


def only(data: Prepared, **changes: Any) -> Recipe:
    return data.recipe.override({name.replace("__", "."): value for name, value in changes.items()})


def test_a_step_is_down_the_mean_gradient_of_its_tasks(tmp_path: Path) -> None:
    data = prepared(
        federation__rounds=1, client__outer_optimizer="sgd", client__outer_lr=0.5, client__gradient_clip=1e9,
        model__dropout=0.0, client__inner_lr=1e-3,
    )  # fmt: skip
    recipe, told = data.recipe, []
    found = train_meta_centralised(recipe, data, tmp_path, lambda *round_: told.append(round_))
    model, rng = federated_voice_model(recipe), generator(recipe.seed, "meta-learning", 1)
    start, speakers = model.shared_vector(), list(data.train.values())
    gradients, losses = [], []
    for speaker in torch.randint(len(speakers), (2,), generator=rng).tolist():
        utterances = CachedFeatures(speakers[speaker], data.cache, recipe.features)
        task = Material.split(utterances, recipe.client.support_fraction)
        loss, _ = task_loss(recipe.algorithm, model, task, recipe, rng, 1)
        made = torch.autograd.grad(loss, model.shared_parameters(), allow_unused=True, materialize_grads=True)
        gradients.append(torch.cat([g.flatten() for g in made]))
        losses.append(loss.item())
    expected = start - 0.5 * torch.stack(gradients).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    ((number, loss_told, norm, weights),) = told
    assert (number, loss_told) == (1, pytest.approx(sum(losses) / 2, rel=1e-4))
    assert norm == pytest.approx(float((expected - start).norm()), rel=1e-3)
    assert torch.equal(weights, found)


def test_training_goes_on_bit_by_bit_where_it_was_interrupted(tmp_path: Path) -> None:
    data = prepared()
    whole = train_meta_centralised(data.recipe, data, tmp_path / "whole")
    train_meta_centralised(only(data, federation__rounds=1), data, tmp_path / "parts")
    assert torch.equal(train_meta_centralised(data.recipe, data, tmp_path / "parts"), whole)


class Silent:
    """Nobody watches."""

    def stage(self, _: str) -> Callable[[int, int], None]:
        return lambda *_: None

    def arm(self, *_: Any) -> Callable[[dict[str, Any]], None]:
        return lambda _: None


def test_an_arm_of_a_simulation_is_trained_so_and_counts_as_pooled(tmp_path: Path) -> None:
    data = prepared(federation__rounds=1)
    run = RunFolder.create(tmp_path / "run", data.recipe)
    outcome = run_arm(run, "centralised", data.recipe, data, Silent())
    expected = train_meta_centralised(data.recipe, data, tmp_path / "alone")
    assert outcome["weights"] == weights_hash(expected)
    assert outcome["description"] == "all recordings pooled, 1 steps"
    assert outcome["protection"] == "unprotected"


def test_dp_sgd_in_its_inner_loop_is_refused(tmp_path: Path) -> None:
    data = prepared()
    private = only(data, personal_privacy__enabled=True, personal_privacy__epsilon=4.0)
    with pytest.raises(RecipeError, match="per-sample gradients have not"):
        train_meta_centralised(private, data, tmp_path)
