"""One step of a vocoder's training: who learns from what, and that it repeats."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from client.learning.vocoder_figures import GRADIENT, told_figures
from client.learning.vocoder_training import VocoderTrainer, learning_rate_share
from shared_models.audio.mel import HOP
from shared_models.audio.wave_segments import WaveSegments, segments_of
from shared_models.config import VocoderConfig
from shared_models.errors import CheckpointError
from shared_models.vocoders.adversarial_model import Discriminators
from shared_models.vocoders.from_recipe import generator_of

FRAMES = 12


def _config(**changes: Any) -> VocoderConfig:
    small = {
        "width": 16, "hidden": 32, "blocks": 1, "segment_frames": 8, "context_frames": 2, "steps": 10,
        "discriminators": ("period", "light_spectrogram"), "discriminator_widths": (0.03, 0.1),
        "generator_lr": 1e-3,
    }  # fmt: skip
    return VocoderConfig.model_validate(small | changes)


def _trainer(config: VocoderConfig) -> VocoderTrainer:
    return VocoderTrainer(generator_of(config, 1), config, seed=1)


def _segments(seed: int = 0, count: int = 2) -> WaveSegments:
    rng = torch.Generator().manual_seed(seed)
    return segments_of(0.1 * torch.randn(count, (FRAMES + 4) * HOP, generator=rng))


def _snapshot(trainer: VocoderTrainer, prefix: str) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.state().items() if k.startswith(prefix)}


def _moved(trainer: VocoderTrainer, before: dict[str, torch.Tensor]) -> bool:
    now = trainer.state()
    return any(not torch.equal(now[name], value) for name, value in before.items())


def _read(trainer: VocoderTrainer, segments: WaveSegments, number: int = 1) -> dict[str, float]:
    (figures,) = told_figures({number: trainer.step(segments, number)})
    return figures


def test_the_adversary_teaches_the_generator_and_nothing_else_does() -> None:
    # No distances: whatever moves the generator came through the discriminators.
    trainer = _trainer(_config(mel_weight=0.0, discriminate_every=2, weight_decay=0.0))
    generator, judges = _snapshot(trainer, "generator/"), _snapshot(trainer, "judges/")
    trainer.step(_segments(), 1)
    assert _moved(trainer, generator)
    assert not _moved(trainer, judges)  # they learn at every second step, and the first is not one
    assert all(parameter.grad is None for parameter in trainer.discriminators.parameters())
    trainer.step(_segments(), 2)
    assert _moved(trainer, judges)


def test_the_discriminators_gradient_does_not_reach_the_generator() -> None:
    config = _config(mel_weight=0.0, discriminator_weights=(0.0, 0.0), weight_decay=0.0)
    trainer = _trainer(config)
    generator, judges = _snapshot(trainer, "generator/"), _snapshot(trainer, "judges/")
    trainer.step(_segments(), 1)
    assert _moved(trainer, judges)
    assert not _moved(trainer, generator)


def test_one_pass_gives_the_gradients_of_the_usual_two() -> None:
    """Both sides' gradients, taken apart: generator's through fresh discriminators, theirs on detached waves."""
    from shared_models.vocoders.adversarial_losses import (
        discriminator_loss,
        feature_matching_loss,
        generator_loss,
        mel_loss,
    )

    config = _config(context_frames=0, segment_frames=FRAMES, gradient_clip=1e9)
    trainer, usual = _trainer(config), _trainer(config)
    segments = _segments()
    trainer.step(segments, 1)
    generated = usual.generator.train()(segments.mel)
    total = config.mel_weight * mel_loss(generated, segments.wave)
    judged = torch.zeros(())
    for judge in usual.discriminators:
        real, fake = judge(segments.wave), judge(generated)
        total = total + generator_loss(fake, "lsgan") + 2.0 * feature_matching_loss(real, fake)
        judged = judged + discriminator_loss(real, judge(generated.detach()), "lsgan")
    expected = torch.autograd.grad(total, list(usual.generator.parameters()))
    theirs = torch.autograd.grad(judged, list(usual.discriminators.parameters()))
    for parameter, gradient in zip(trainer.generator.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    for parameter, gradient in zip(trainer.discriminators.parameters(), theirs, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_distances_alone_until_the_adversary_enters() -> None:
    trainer = _trainer(_config(adversarial_from=3))
    names = [set(trainer.step(_segments(n), n)) for n in (1, 2, 3)]
    assert names[0] == names[1] == {"mel", "stft", "gradient"}
    assert names[2] == {"mel", "adversarial", "features", "discriminator", "gradient"}


def test_training_brings_the_mel_nearer() -> None:
    trainer = _trainer(_config(discriminators=(), discriminator_widths=(), generator_lr=5e-3, decay="none"))
    losses = [_read(trainer, _segments(), n)["mel"] for n in range(1, 41)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_context_is_seen_and_not_judged() -> None:
    config = _config(discriminators=(), discriminator_widths=())
    segments = _segments()
    edge = 2 * HOP
    other = segments.wave.clone()
    other[:, :edge], other[:, -edge:] = 0.5, -0.5
    losses = [
        _read(_trainer(config), WaveSegments(segments.mel, wave))["mel"] for wave in (segments.wave, other)
    ]
    assert losses[0] == losses[1]
    moved = segments.mel.clone()
    moved[:, 0] += 1.0
    assert _read(_trainer(config), WaveSegments(moved, segments.wave))["mel"] != losses[0]


def test_a_restored_trainer_goes_on_bit_for_bit() -> None:
    config = _config(
        discriminators=("period", "scale"), discriminator_widths=(0.03, 0.03), adversarial_from=3
    )
    undisturbed, first = _trainer(config), _trainer(config)
    for number in range(1, 7):
        undisturbed.step(_segments(number), number)
    for number in range(1, 5):
        first.step(_segments(number), number)
    saved = {name: tensor.clone() for name, tensor in first.state().items()}
    second = _trainer(config)
    second.step(_segments(99), 1)  # whatever it was before is forgotten
    second.load_state(saved)
    for number in range(5, 7):
        second.step(_segments(number), number)
    expected, found = undisturbed.state(), second.state()
    assert set(expected) == set(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_states_of_another_recipe_are_refused() -> None:
    state = _trainer(_config()).state()
    with pytest.raises(CheckpointError, match="the recipe that it was started with"):
        _trainer(_config(width=24)).load_state(state)


def test_the_average_follows() -> None:
    trainer = _trainer(_config(average=0.9))
    copies = []
    for number in range(1, 6):
        trainer.step(_segments(number), number)
        copies.append(trainer.generator.head.bias.detach().clone())
    expected = _trainer(_config()).generator.head.bias.detach()
    for number, weights in enumerate(copies, start=1):
        decay = min(0.9, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(trainer.average.head.bias, expected)
    assert not any(p.requires_grad for p in trainer.average.parameters())


def test_without_an_average_it_is_the_generator() -> None:
    trainer = _trainer(_config(average=0.0))
    trainer.step(_segments(), 1)
    pairs = zip(trainer.average.parameters(), trainer.generator.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_loss_that_is_not_finite_is_an_error_once_it_is_read() -> None:
    trainer = _trainer(_config())
    broken = _segments()
    broken.wave[0, 700] = torch.nan
    figures = {3: trainer.step(_segments(), 3), 4: trainer.step(broken, 4), 5: trainer.step(_segments(), 5)}
    with pytest.raises(CheckpointError, match="diverged at step 4"):
        told_figures(figures)


def test_figures_are_read_as_the_sums_of_their_parts_and_in_order() -> None:
    figures = {
        7: {"mel": torch.tensor(0.25), "features": torch.tensor([0.1, 0.2, 0.4])},
        9: {"mel": torch.tensor(2.0), GRADIENT: torch.tensor(torch.inf)},
    }
    first, second = told_figures(figures)
    assert first == {"mel": 0.25, "features": sum(float(torch.tensor(x)) for x in (0.1, 0.2, 0.4))}
    assert second == {"mel": 2.0, GRADIENT: float("inf")}, "a clipped gradient's norm stops nothing"
    assert told_figures({}) == []


def test_a_diffusion_model_learns_to_take_noise_off() -> None:
    config = VocoderConfig.model_validate(
        {"kind": "diffwave", "width": 8, "steps": 5, "generator_lr": 1e-3, "decay": "none"}
    )
    trainer, again = _trainer(config), _trainer(config)
    assert len(trainer.discriminators) == 0
    losses = [_read(trainer, _segments(), number)["noise"] for number in (1, 2, 3)]
    assert losses == [_read(again, _segments(), number)["noise"] for number in (1, 2, 3)]


def test_a_diffusion_models_step_is_the_same_in_parts() -> None:
    sizes = {"kind": "diffwave", "width": 8, "generator_lr": 1e-3, "decay": "none", "gradient_clip": 0.1}
    whole, parts = (
        _trainer(VocoderConfig.model_validate(sizes | {"segments_at_once": size})) for size in (None, 2)
    )
    segments = _segments(count=5)
    for number in (1, 2, 3):
        ours, theirs = _read(parts, segments, number), _read(whole, segments, number)
        assert ours == pytest.approx(theirs, rel=1e-5)
    torch.testing.assert_close(
        parts.generator.state_dict(), whole.generator.state_dict(), rtol=1e-4, atol=1e-5
    )


def test_only_a_diffusion_model_may_take_its_segments_in_parts() -> None:
    with pytest.raises(ValueError, match="only diffwave trains on a part of its segments at a time"):
        VocoderConfig.model_validate({"kind": "vocos", "segments_at_once": 2})


@pytest.mark.parametrize(
    ("decay", "number", "share"),
    [("cosine", 1, 1.0), ("cosine", 6, 0.5), ("none", 10, 1.0), ("exponential", 7, 0.25)],
)
def test_learning_rates(decay: str, number: int, share: float) -> None:
    config = _config(decay=decay, decay_rate=0.5, decay_steps=3)
    assert learning_rate_share(config, number) == pytest.approx(share)


def test_given_discriminators_are_trained_in_place() -> None:
    config = _config()
    judges = Discriminators(config, 1)
    own = _trainer(config)
    given = VocoderTrainer(generator_of(config, 1), config, 1, judges)
    own.step(_segments(), 1)
    given.step(_segments(), 1)
    pairs = zip(judges.parameters(), own.discriminators.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
