"""Which parameters a round moves, that it repeats, and that what is sent is what changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_federation import random_speech, same, shaken, task_of, tiny_model, tiny_recipe
from torch import Tensor

from client.learning.local_round import LocalRound, local_round
from client.learning.material import Material
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.config import Recipe

PLAIN: dict[str, Any] = {"aligner__learn": "never", "model__dropout": 0.0}


def a_round(
    recipe: Recipe, number: int = 1, client: int = 0, weights: Tensor | None = None, aligned: bool = True
) -> tuple[VoicePartition, LocalRound]:
    model = tiny_model(recipe)
    start = model.shared_vector() if weights is None else weights
    material = Material.split(random_speech(6, aligned=aligned), 0.5)
    return model, local_round(model, start, material, task_of(recipe, number, client))


def update_of(result: LocalRound) -> Tensor:
    return result.update.vector


def test_fedavg_leaves_the_personal_set_alone() -> None:
    model, result = a_round(tiny_recipe(federation__algorithm="fedavg", **PLAIN))
    assert same(model.personal_state(), tiny_model(tiny_recipe(**PLAIN)).personal_state())
    assert update_of(result).any()
    assert (result.losses["inner"], len(result.losses["outer"])) == ([], 2)


def test_a_fedrep_round_does_both() -> None:
    model, result = a_round(tiny_recipe(federation__algorithm="fedrep", client__inner_steps=3, **PLAIN))
    assert (len(result.losses["inner"]), len(result.losses["outer"])) == (3, 2)
    assert all(tensor.any() for tensor in model.personal_state().values())
    assert update_of(result).any()


def test_fedper_moves_both_in_the_same_steps() -> None:
    model, result = a_round(tiny_recipe(federation__algorithm="fedper", **PLAIN))
    assert all(tensor.any() for tensor in model.personal_state().values())
    assert update_of(result).any()
    assert result.losses["inner"] == []


def test_full_sharing_sends_the_personal_set_too() -> None:
    recipe = tiny_recipe(federation__algorithm="full", **PLAIN)
    model, result = a_round(recipe)
    private = tiny_model(tiny_recipe(**PLAIN))
    voices = sum(p.numel() for p in private.personal_parameters())
    assert model.partition.size == private.partition.size + voices
    assert model.personal_parameters() == []
    sent = [t for t in model.partition.shared if t.name.startswith("voices.")]
    assert sum(t.stop - t.start for t in sent) == voices
    assert all(update_of(result)[t.start : t.stop].any() for t in sent)


@pytest.mark.parametrize("algorithm", ["fedavg", "fedper", "fedrep", "full"])
def test_the_update_is_the_shared_set_after_less_before(algorithm: str) -> None:
    recipe = tiny_recipe(federation__algorithm=algorithm, aligner__learn="never")
    weights = shaken(tiny_model(recipe)).shared_vector()
    before = weights.clone()
    model, result = a_round(recipe, weights=weights, number=4)
    assert torch.equal(weights, before), "the weights of the round are others' too"
    assert torch.equal(update_of(result), model.shared_vector() - weights)
    assert result.update.round == 4
    assert result.update.schema == model.partition.schema


def test_a_round_that_is_trained_again_gives_the_same_update() -> None:
    recipe = tiny_recipe(aligner__learn="never", model__dropout=0.3, client__inner_steps=2)
    torch.manual_seed(1)
    first_model, first = a_round(recipe, number=5, client=2)
    torch.manual_seed(2)
    torch.rand(7)
    state = torch.get_rng_state()
    second_model, second = a_round(recipe, number=5, client=2)
    assert torch.equal(torch.get_rng_state(), state), "a round draws from nobody else's randomness"
    assert torch.equal(update_of(first), update_of(second))
    assert same(first_model.personal_state(), second_model.personal_state())
    assert first.losses == second.losses


@pytest.mark.parametrize("other", [{"number": 6}, {"client": 3}])
def test_rounds_and_clients_draw_apart(other: dict[str, int]) -> None:
    recipe = tiny_recipe(aligner__learn="never")
    _, first = a_round(recipe, **({"number": 5, "client": 2} | other))
    _, second = a_round(recipe, number=5, client=2)
    assert not torch.equal(update_of(first), update_of(second))


def test_fedprox_pulls_back_by_mu_times_the_distance() -> None:
    mu, lr = 0.7, 0.05
    settings = {"federation__algorithm": "fedavg", "client__outer_optimizer": "sgd", "client__outer_lr": lr}
    settings |= {"client__gradient_clip": 1e9, **PLAIN}

    def moved(steps: int, pull: float) -> Tensor:
        recipe = tiny_recipe(client__outer_steps=steps, federation__proximal_mu=pull, **settings)
        return update_of(a_round(recipe)[1]).double()

    one = moved(1, 0.0)
    # The first step starts where the round does, so nothing pulls; the second's gradient is the same with and
    # without, but for mu * (w1 - w0).
    assert torch.equal(moved(1, mu), one.double())
    expected = moved(2, 0.0) - lr * mu * one
    assert torch.allclose(moved(2, mu), expected, atol=5e-7, rtol=0)
    assert (lr * mu * one).abs().max() > 1e-4, "the pull is large enough for the comparison to see it"


def test_a_stronger_pull_keeps_closer() -> None:
    norms = [
        float(update_of(a_round(tiny_recipe(
            federation__algorithm="fedavg", federation__proximal_mu=mu, client__outer_steps=6,
            client__outer_optimizer="sgd", client__outer_lr=0.05, **PLAIN))[1]).norm())
        for mu in (0.0, 1.0, 10.0)
    ]  # fmt: skip
    assert norms[0] > norms[1] > norms[2] > 0


def test_warm_up_rounds_move_the_aligner_alone() -> None:
    recipe = tiny_recipe(aligner__learn="always", aligner__warmup_rounds=2)
    model, result = a_round(recipe, number=2, aligned=False)
    moved = [t.name for t in model.partition.shared if update_of(result)[t.start : t.stop].any()]
    assert moved
    assert all(name.startswith("aligner.") for name in moved)
    assert not any(tensor.any() for tensor in model.personal_state().values())
    _, later = a_round(recipe, number=3, aligned=False)
    others = [t for t in model.partition.shared if not t.name.startswith("aligner.")]
    assert any(update_of(later)[t.start : t.stop].any() for t in others)


def test_training_lowers_the_loss() -> None:
    recipe = tiny_recipe(
        federation__algorithm="fedavg", client__outer_steps=40, client__outer_lr=0.01, **PLAIN
    )
    losses = a_round(recipe)[1].losses["outer"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
