"""What is trained on: weights that training makes pass, crafted ones do not, and noise hides nothing."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from tiny_federation import tiny_recipe
from torch import Tensor

from client.rounds.reference_weights import FROM_A_FRESH_MODEL, reference_for
from client.rounds.weights_check import (
    FROM_REFERENCE,
    MOST_NOISE,
    Reach,
    noise_after,
    norms_of,
    refusal_of_weights,
)
from shared_models.acoustic import build_model
from shared_models.base_model import packaged_base
from shared_models.config import Recipe
from shared_models.partition import Partition, PartitionedModel, SharedTensor
from shared_models.vocoders.adversarial_model import AdversarialVocoder
from shared_models.vocoders.kinds import build_generator
from shared_models.vocoders.vocoder_file import packaged_vocoder
from simulations.attacks.trap_weights import craft

BASE = packaged_base()
PARTITION = BASE.model.partition
KNOWN = BASE.model.shared_vector()


def refusal(
    vector: Tensor, before: Tensor | None = None, noise: float = 0.0, factor: float = 1.0
) -> str | None:
    norms = None if before is None else norms_of(before, PARTITION)
    return refusal_of_weights(vector, KNOWN, PARTITION, Reach(factor, noise=noise), norms)


def place(name: str) -> slice:
    tensor = next(t for t in PARTITION.shared if t.name == name)
    return slice(tensor.start, tensor.stop)


def test_the_installed_base_is_what_its_shape_is_compared_with() -> None:
    reference, farther = reference_for(BASE.recipe, PARTITION)
    assert torch.equal(reference, KNOWN)
    assert farther == 1.0
    assert refusal(KNOWN) is None
    assert refusal(KNOWN, before=KNOWN) is None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_federation_that_starts_from_random_weights_passes(seed: int) -> None:
    fresh = PartitionedModel(build_model(BASE.recipe, seed=seed)).shared_vector()
    assert refusal(fresh) is None
    # And the whole way from there to a trained model, as far as this one went, in four strides.
    way = [torch.lerp(fresh, KNOWN, part) for part in (0.0, 0.25, 0.5, 0.75)]
    for before, after in pairwise([*way, KNOWN]):
        assert refusal(after, before=before) is None


def test_a_shape_that_is_not_installed_is_compared_with_a_fresh_model() -> None:
    recipe = tiny_recipe()
    model = PartitionedModel(build_model(recipe))
    other = PartitionedModel(build_model(recipe, seed=99)).shared_vector()
    reference, farther = reference_for(recipe, model.partition)
    assert reference.shape == other.shape
    assert farther == 2.0
    assert refusal_of_weights(other, reference, model.partition, Reach(farther=farther)) is None
    assert refusal_of_weights(other * 30, reference, model.partition, Reach(farther=farther)) is not None


def test_a_vocoder_is_compared_with_a_fresh_one() -> None:
    changes = {
        "trains": "vocoder", "federation.algorithm": "fedper", "vocoder.kind": "vocos", "vocoder.width": 32,
        "vocoder.hidden": 64, "vocoder.blocks": 1, "vocoder.discriminators": [],
    }  # fmt: skip
    recipe = Recipe().override(changes)
    partition = Partition.of(AdversarialVocoder(recipe))
    other = PartitionedModel(AdversarialVocoder(recipe.override({"seed": 9}))).shared_vector()
    reference, farther = reference_for(recipe, partition)
    assert refusal_of_weights(other, reference, partition, Reach(farther=farther)) is None
    assert refusal_of_weights(other * 30, reference, partition, Reach(farther=farther)) is not None


def test_a_vocoder_that_was_trained_for_long_is_within_reach_of_a_fresh_one() -> None:
    trained = packaged_vocoder()
    fresh = build_generator(trained.kind, trained.dimensions)
    tensors, start = [], 0
    for name, parameter in fresh.named_parameters():
        tensors.append(SharedTensor(name, tuple(parameter.shape), start, start + parameter.numel()))
        start += parameter.numel()
    partition = Partition({}, tuple(tensors))
    weights, known = (
        torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        for model in (trained.generator, fresh)
    )
    assert refusal_of_weights(weights, known, partition, Reach(farther=FROM_A_FRESH_MODEL)) is None
    assert refusal_of_weights(weights, known, partition, Reach(1.0)) is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    vector = KNOWN.clone()
    vector[place("acoustic.mel.bias")][3] = bad
    said = refusal(vector)
    assert said is not None
    assert "acoustic.mel.bias" in said
    assert "not finite" in said


def test_one_tensor_out_of_reach_is_named_with_both_figures() -> None:
    vector = KNOWN.clone()
    vector[place("mel_style.spectral.0.weight")] *= 12
    said = refusal(vector)
    assert said is not None
    assert said.startswith("policy weights_reach: 'mel_style.spectral.0.weight'")
    assert "0.84 " in said
    assert "0.364" in said


def test_one_number_out_of_reach_is_enough() -> None:
    vector = KNOWN.clone()
    vector[place("acoustic.encoder.0.feed_forward.expand.weight")][7] = 5.0
    said = refusal(vector)
    assert said is not None
    assert "in one number" in said


def test_a_tensor_that_shrinks_or_grows_between_two_rounds_is_refused() -> None:
    name = "acoustic.encoder.0.attention_norm.weight"
    for factor in (0.3, 1.8):
        vector = KNOWN.clone()
        vector[place(name)] *= factor
        assert refusal(vector) is None, "within reach of the base, so that only the last round can tell"
        said = refusal(vector, before=KNOWN)
        assert said is not None
        assert "last saw" in said


def test_honest_noise_passes_and_claimed_noise_hides_no_trap() -> None:
    # Sigma 1, C 0.5, cohort 8, fedavg at 1: rounds of pure noise on the base.
    on_mean = 1.0 * 0.5 / 8
    torch.manual_seed(0)
    weights, before = KNOWN.clone(), KNOWN
    for number in range(1, 9):
        weights = weights + on_mean * torch.randn(len(weights))
        assert refusal(weights, before=before, noise=noise_after(number, on_mean, 1.0)) is None, number
        before = weights
    # A server that claims so much noise that anything might be it.
    crafted = craft(BASE.model, sharpness=20.0)[0]
    assert refusal(crafted, noise=1e6) is not None
    assert Reach(noise=1e6).limit(FROM_REFERENCE, 0.0) == 0.25 + MOST_NOISE


@pytest.mark.parametrize("sharpness", [400.0, 40.0, 5.0])
def test_the_trap_is_out_of_reach(sharpness: float) -> None:
    said = refusal(craft(BASE.model, sharpness=sharpness)[0])
    assert said is not None
    assert "mel_style" in said


def test_the_owner_may_widen_the_reach() -> None:
    vector = KNOWN.clone()
    vector[place("mel_style.spectral.0.weight")] *= 12
    assert refusal(vector, factor=3.0) is None
