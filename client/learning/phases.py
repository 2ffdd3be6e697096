"""The local steps of one phase of an algorithm, by an optimizer that begins with it.

Source of the pull towards the round's weights: FedProx, Li 2020 (arXiv 1812.06127, eq. 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from client.learning.material import draw_batch, on_device
from shared_models.accelerator import Accelerator
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.acoustic.voice_model import VoiceModel, VoicePartition
from shared_models.algorithms.algorithm import Phase
from shared_models.config import Recipe
from shared_models.features import Batch, Features
from shared_models.losses import acoustic_loss, alignment_loss
from shared_models.mel_adversary import MelAdversary
from shared_models.optimization import adam, can_fuse, take_steps
from shared_models.speakers.adaptation.whole import layers_of_whole

LossOf = Callable[[VoiceModel, Batch, Recipe, torch.Generator], Tensor]
"""The mean loss of a batch; the generator draws whatever is random in it but dropout."""


def training_loss(model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """The mean loss of a batch under teacher forcing; aligner terms weighted by the recipe."""
    return loss_of_output(teacher_forced(model, batch, recipe, rng), batch, recipe)


def heard_training_loss(model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """:func:`training_loss`, and what the recipe's ``losses.judge`` hears if it names one: a round's loss."""
    return loss_of_output(teacher_forced(model, batch, recipe, rng), batch, recipe, heard=True)


def contested_loss(adversary: MelAdversary, *, pulls: bool = True, heard: bool = False) -> LossOf:
    """The mean loss of a batch, and what a discriminator, which learns from the same batch, adds where it pulls.

    ``heard``: as :func:`heard_training_loss`.
    """

    def loss(model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator) -> Tensor:
        output = teacher_forced(model, batch, recipe, rng)
        return loss_of_output(output, batch, recipe, heard=heard) + adversary.loss(output, pulls=pulls)

    return loss


def loss_of_output(output: AcousticOutput, batch: Batch, recipe: Recipe, *, heard: bool = False) -> Tensor:
    """The mean loss ``()`` of what teacher forcing gave; ``heard`` adds what the recipe's judge says."""
    total = acoustic_loss(output, batch, weights=recipe.aligner, error=recipe.losses.mel).total
    if not heard or not recipe.losses.heard:
        return total
    # Its encoders take time to load, which most recipes need not wait for.
    from shared_models.perceptual import heard_loss

    return total + heard_loss(recipe.losses, output)


def teacher_forced(model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator) -> AcousticOutput:
    """What the model says of a batch under teacher forcing, in the recipe's window and precision."""
    with Accelerator(batch.mel.device, recipe.engine.precision).autocast():
        output: AcousticOutput = model(batch, window=recipe.client.window_frames, generator=rng)
    return output


def aligner_loss(model: VoiceModel, batch: Batch, recipe: Recipe, _: torch.Generator) -> Tensor:
    """The aligner's mean loss alone, which needs neither encoder nor decoder and is several times cheaper."""
    return alignment_loss(model.align(batch), weights=recipe.aligner)


def take_phase(
    phase: Phase,
    model: VoicePartition,
    utterances: Sequence[Features],
    recipe: Recipe,
    rng: torch.Generator,
    *,
    round_number: int = 0,
    loss_of: LossOf = training_loss,
    round_weights: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Take the phase's steps on batches of ``utterances``; the losses. ``round_number`` is 0 outside of rounds.

    With the weights ``(D,)`` that a round began from, and the recipe's ``proximal_mu``, the shared set is pulled
    towards them. What the phase does not move is frozen. No step is taken where there is nothing to move.
    """
    moved = parameters_of(phase, model)
    if not moved:
        return []
    freeze_all_but(moved, model)
    utterances = on_device(utterances, model.device)

    def next_loss() -> Tensor:
        return loss_of(model.model, draw_batch(utterances, recipe, rng), recipe, rng)

    return take_steps(
        next_loss, moved, optimizer_of(phase, model, recipe, round_number), recipe.client.gradient_clip,
        steps=phase.steps(recipe), falls_from=phase.falls_from(recipe),
        pull=proximal_pull(model, recipe, round_weights), on_step=on_step,
    )  # fmt: skip


def parameters_of(phase: Phase, model: VoicePartition) -> list[nn.Parameter]:
    """The parameters that a phase moves, shared ones first."""
    return _shared_of(phase, model) + (model.personal_parameters() if phase.moves.personal else [])


def _shared_of(phase: Phase, model: VoicePartition) -> list[nn.Parameter]:
    shared = model.shared_parameters() if phase.moves.shared else []
    if phase.layers is None:
        return shared
    layers = layers_of_whole(model.model.acoustic, phase.layers).values()
    chosen = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return [parameter for parameter in shared if id(parameter) in chosen]


def freeze_all_but(moved: Sequence[nn.Parameter], model: VoicePartition) -> None:
    """Let gradients be made for the ``moved`` parameters alone."""
    chosen = {id(parameter) for parameter in moved}
    for parameter in [*model.shared_parameters(), *model.personal_parameters()]:
        parameter.requires_grad_(id(parameter) in chosen)


def optimizer_of(
    phase: Phase, model: VoicePartition, recipe: Recipe, round_number: int
) -> torch.optim.Optimizer:
    """A new optimizer of what the phase moves, shared and personal each at a learning rate of their own."""
    groups = []
    if phase.moves.shared:
        groups.append({"params": _shared_of(phase, model), "lr": phase.shared_rate(recipe, round_number)})
    # Where everything is shared there is nothing personal.
    if phase.moves.personal and (personal := model.personal_parameters()):
        groups.append({"params": personal, "lr": phase.personal_rate(recipe, round_number)})
    if phase.optimizer(recipe) == "sgd":
        return torch.optim.SGD(groups, fused=can_fuse(parameters_of(phase, model)))
    return adam(groups)


def proximal_pull(
    model: VoicePartition, recipe: Recipe, round_weights: Tensor | None
) -> Callable[[], None] | None:
    """What adds the gradient of mu/2 * ||w - w_round||^2 to the shared set's; None where nothing pulls."""
    mu = recipe.federation.proximal_mu
    if round_weights is None or not mu:
        return None
    starts = [round_weights[t.start : t.stop].view(t.shape).to(model.device) for t in model.partition.shared]

    def pull() -> None:
        for parameter, start in zip(model.shared_parameters(), starts, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - start, alpha=mu)

    return pull
