"""Learnt rates of an inner loop: where they begin, what they multiply, who learns them, and whose they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from synthetic_batches import small_model
from tiny_federation import personal_copy, random_speech, shaken, task_of, tiny_model, tiny_recipe

from client.learning.inner_loop import Pace, adapt, take_inner_steps
from client.learning.local_round import local_round
from client.learning.material import Material
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.cloning import CLONING
from shared_models.config import Recipe, SpeakerConfig
from shared_models.export.depth import cut
from shared_models.partition import Owner, Partition
from shared_models.seeds import generator

PLAIN: dict[str, Any] = {
    "aligner__learn": "never", "model__dropout": 0.0, "client__gradient_clip": 1e9, "cloning__steps": 1,
    "cloning__lr": 0.01, "speaker__learned_rates": 3.0,
}  # fmt: skip
MATERIAL = Material.split(random_speech(6), 0.5)


def recipe_of(**changes: Any) -> Recipe:
    return tiny_recipe(**PLAIN | changes)


def test_a_step_goes_down_the_multiplied_gradient_and_is_clipped_after_that() -> None:
    start = {name: torch.zeros(2, dtype=torch.float64, requires_grad=True) for name in ("a", "b")}
    factors = {"a": torch.tensor([2.0, 0.5], dtype=torch.float64)}

    def slope(now: Any) -> torch.Tensor:
        return (now["a"] * torch.tensor([3.0, 8.0])).sum() + (now["b"] * torch.tensor([0.0, 1.0])).sum()

    def end(clip: float) -> Any:
        rates = dict.fromkeys(start, 0.1)
        return adapt(start, [slope], Pace(rates, clip, factors), second_order=False).parameters

    assert end(1e9)["a"].tolist() == pytest.approx([-0.6, -0.4])
    assert end(1e9)["b"].tolist() == pytest.approx([0.0, -0.1])
    norm = math.sqrt(6**2 + 4**2 + 1**2)
    assert end(0.5)["a"].tolist() == pytest.approx([-0.6 * 0.5 / norm, -0.4 * 0.5 / norm], rel=1e-5)


def step_of(model: VoicePartition, recipe: Recipe) -> dict[str, torch.Tensor]:
    before = personal_copy(model)
    take_inner_steps(CLONING, model, random_speech(3), recipe, generator(1))
    return {name: value - before[name] for name, value in personal_copy(model).items()}


def test_a_newcomer_adapts_at_the_rates_that_were_learnt() -> None:
    recipe = recipe_of()
    slow, fast, plain = (
        shaken(tiny_model(r)) for r in (recipe, recipe, recipe_of(speaker__learned_rates=None))
    )
    for model in (slow, fast):
        rates = model.model.learned_rates
        assert rates is not None
        with torch.no_grad():
            for parameter in rates.parameters():
                parameter.zero_()
    with torch.no_grad():
        fast.model.learned_rates.get_parameter("embedding").add_(math.log(5))
    begun, faster, one = step_of(slow, recipe), step_of(fast, recipe), step_of(plain, recipe)
    for name, way in one.items():
        torch.testing.assert_close(begun[name], 3 * way, rtol=1e-3, atol=1e-6)
        times = 15 if name == "voices.embedding.weight" else 3
        torch.testing.assert_close(faster[name], times * way, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["meta_tts_personal", "fedrep"])
def test_the_outer_loop_learns_them_and_they_travel_as_everybodys(algorithm: str) -> None:
    recipe = recipe_of(federation__algorithm=algorithm, client__inner_steps=2)
    model = tiny_model(recipe)
    weights = shaken(tiny_model(recipe)).shared_vector()
    update = local_round(model, weights, MATERIAL, task_of(recipe)).update.vector
    rates = [t for t in model.partition.shared if t.name.startswith("learned_rates.")]
    assert {t.name.split(".")[1] for t in rates} == {"embedding", "cln_scale", "cln_shift", "prosody"}
    assert all(update[t.start : t.stop].any() == (algorithm != "fedrep") for t in rates)
    assert not set(model.partition.names(Owner.PERSONAL)) & {t.name for t in rates}


@pytest.mark.parametrize("personal", ["lora", "embedding", "vectors+whole"])
def test_a_base_with_them_is_the_same_for_every_adaptation(personal: str) -> None:
    schemas = {
        Partition.of(
            small_model(speaker=SpeakerConfig(personal=kind, learned_rates=2.0)), share_everything=False
        ).schema
        for kind in ("vectors", personal)
    }
    assert len(schemas) == 1


def test_a_model_without_them_is_what_it_always_was() -> None:
    plain, with_rates = tiny_model(recipe_of(speaker__learned_rates=None)), tiny_model(recipe_of())
    assert plain.model.learned_rates is None
    assert torch.equal(with_rates.shared_vector()[: plain.partition.size], plain.shared_vector())
    assert not with_rates.shared_vector()[plain.partition.size :].any()


def test_a_model_of_fewer_blocks_keeps_the_rates_of_its_norms() -> None:
    recipe = recipe_of(model__decoder_layers=2)
    model = shaken(tiny_model(recipe)).model
    smaller = recipe.override({"model.decoder_layers": 1})
    found = cut(model, recipe, smaller).learned_rates
    assert found is not None
    assert model.learned_rates is not None
    torch.testing.assert_close(found.cln_scale, model.learned_rates.cln_scale[2:])
    torch.testing.assert_close(found.embedding, model.learned_rates.embedding)
