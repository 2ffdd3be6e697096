"""On a real GPU: what the processor computes, the same each time, from a round's step to sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_federation import random_speech, tiny_model, tiny_recipe
from torch import Tensor

from client.cloning import adapt, adapt_privately
from client.home.ledger import Ledger
from client.learning.local_round import local_round
from client.learning.material import Material
from client.speaker import Speaker
from client.task import Task
from shared_models.accelerator import repeat_on
from shared_models.config import Recipe
from shared_models.federated_model import federated_voice_model
from shared_models.vocoders import build_vocoder

pytestmark = pytest.mark.gpu
PLAIN = {"model__dropout": 0.0}


def update_on(device: torch.device, recipe: Recipe, *, aligned: bool = True) -> Tensor:
    repeat_on(device)
    model = federated_voice_model(recipe, device)
    weights = model.shared_vector()
    material = Material.split(random_speech(5, aligned=aligned), 0.4)
    return local_round(model, weights, material, Task(recipe, "gpu", 1, 0, simulated=True)).update.vector


@pytest.mark.parametrize("aligned", [True, False])
def test_a_round_is_the_processors_but_for_rounding(gpu: torch.device, aligned: bool) -> None:
    # SGD: Adam's first step divides by the gradient, and so amplifies its last digits where it is near 0.
    recipe = tiny_recipe(client__outer_optimizer="sgd", federation__algorithm="fedavg", **PLAIN)
    there, here = (update_on(device, recipe, aligned=aligned) for device in (gpu, torch.device("cpu")))
    assert there.device == torch.device("cpu")
    assert float((there - here).norm()) < 1e-3 * float(here.norm())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_equal_seeds_give_equal_weights_on_one_kind_of_gpu(gpu: torch.device, precision: str) -> None:
    recipe = tiny_recipe(engine__precision=precision)
    assert torch.equal(update_on(gpu, recipe), update_on(gpu, recipe))


def test_a_private_voice_and_its_sound_come_from_the_gpu(gpu: torch.device, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        cloning__steps=3, personal_privacy__enabled=True, personal_privacy__noise_multiplier=1.0, **PLAIN
    )
    voices = []
    for device in (gpu, torch.device("cpu")):
        model, ledger = tiny_model(recipe).to(device), Ledger(tmp_path / str(device.type), None, 1e-3)
        rng = torch.Generator().manual_seed(3)
        voices.append(
            adapt_privately(model, random_speech(4), recipe, ledger, rng=rng).voice.to(torch.device("cpu"))
        )
    for name in voices[0]:
        torch.testing.assert_close(voices[0][name], voices[1][name], rtol=1e-3, atol=1e-3)


def test_cloning_and_speaking_on_a_gpu_sound_as_on_the_processor(gpu: torch.device) -> None:
    recipe, phonemes, waves = tiny_recipe(**PLAIN), torch.arange(3, 30), []
    for device in (gpu, torch.device("cpu")):
        model = tiny_model(recipe).to(device)
        speaker = Speaker(
            model.model, adapt(model, random_speech(4), recipe), build_vocoder("packaged", device)
        )
        waves.append(speaker.unmarked(phonemes).mel.numpy())
    np.testing.assert_allclose(waves[0], waves[1], rtol=1e-2, atol=1e-2)
