"""The discriminator of mels: it tells blurred from recorded, pulls as hard as it is told to, and survives a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic_batches import batch_of, random_features, shake, small_model
from tiny_federation import features_of_tests, tiny_recipe

from shared_models.accelerator import Accelerator
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.adversarial_config import AdversarialConfig
from shared_models.losses import acoustic_loss
from shared_models.mel_adversary import MelAdversary, l1_gradient_norm
from shared_models.mel_discriminator import MelDiscriminator
from simulations.centralised import train_centralised
from simulations.preparation import prepare

CPU = torch.device("cpu")
ITEMS = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]
BATCH = batch_of(ITEMS)


def adversary_of(**changes: object) -> MelAdversary:
    config = AdversarialConfig.model_validate({"weight": 0.5, "channels": 4, **changes})
    return MelAdversary.new(config, Accelerator(CPU, "float32"), seed=0)


def said() -> AcousticOutput:
    model = small_model(source="harmonics").eval()
    shake(model)
    output: AcousticOutput = model(BATCH)
    output.mel.retain_grad()
    return output


def test_the_norm_of_the_errors_gradient_is_autograds() -> None:
    output = said()
    (gradient,) = torch.autograd.grad(acoustic_loss(output, BATCH).mel, output.mel)
    assert float(l1_gradient_norm(output)) == pytest.approx(float(gradient.norm()), rel=1e-4)


@pytest.mark.parametrize("weight", [0.1, 0.5, 2.0])
def test_the_pull_on_the_mel_is_the_asked_share_of_the_errors(weight: float) -> None:
    output = said()
    added = adversary_of(weight=weight).loss(output)
    assert float(added.detach()) == 0
    added.backward()
    assert output.mel.grad is not None
    pull = output.mel.grad
    assert float(pull.norm()) == pytest.approx(weight * float(l1_gradient_norm(output)), rel=1e-3)
    # Only where something was said.
    assert not pull[~output.frame_mask].any()


def test_before_its_round_the_discriminator_learns_and_pulls_at_nothing() -> None:
    adversary = adversary_of(from_round=5, learning_rounds=2)
    config = adversary.config
    assert [(config.learns_in(n), config.pulls_in(n)) for n in (2, 3, 5)] == [
        (False, False), (True, False), (True, True),
    ]  # fmt: skip
    before = {name: value.clone() for name, value in adversary.discriminator.state_dict().items()}
    assert not adversary.loss(said(), pulls=False).requires_grad
    assert any(
        not torch.equal(before[name], value) for name, value in adversary.discriminator.state_dict().items()
    )


def test_it_learns_to_tell_a_blurred_mel_from_a_recorded_one_and_pulls_towards_that() -> None:
    output = said()
    blurred = (output.mel_target + output.mel_target.roll(1, 2) + output.mel_target.roll(2, 2)) / 3
    output = replace(output, mel=blurred.detach().requires_grad_())
    adversary = adversary_of(channels=8, lr=2e-3)
    for _ in range(40):
        pull = adversary.loss(output)
    real = adversary.discriminator(output.mel_target, output.frame_mask).scores[0].mean()
    generated = adversary.discriminator(output.mel, output.frame_mask).scores[0].mean()
    assert real > generated + 0.3
    pull.backward()
    assert output.mel.grad is not None
    sharper = (blurred - 0.05 * output.mel.grad / output.mel.grad.abs().amax()).detach()
    assert adversary.discriminator(sharper, output.frame_mask).scores[0].mean() > generated


def test_what_is_padding_changes_no_score() -> None:
    discriminator = MelDiscriminator(4)
    mel, mask = torch.randn(2, 40, 80) - 5, torch.arange(40)[None] < torch.tensor([[40], [25]])
    other = torch.where(mask[..., None], mel, torch.randn_like(mel))
    assert torch.equal(discriminator(mel, mask).scores[0], discriminator(other, mask).scores[0])


def test_training_goes_on_bit_by_bit_where_it_was_interrupted(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        federation__algorithm="centralised",
        federation__rounds=2,
        client__decay_from=1.0,
        adversarial__weight=0.5,
        adversarial__channels=4,
    )
    data = prepare(recipe, features_of_tests())
    whole = train_centralised(data.recipe, data, tmp_path / "whole")
    first = data.recipe.override({"federation.rounds": 1})
    train_centralised(first, data, tmp_path / "parts")
    assert torch.equal(train_centralised(data.recipe, data, tmp_path / "parts"), whole)
    plain = data.recipe.override({"adversarial.weight": 0.0})
    assert not torch.equal(train_centralised(plain, data, tmp_path / "plain"), whole)
