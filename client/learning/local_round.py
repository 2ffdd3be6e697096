"""One client's part of a round: the phases of the recipe's algorithm on its material, and their update.

Everything random comes from the recipe's seed, the round and the client, so a round that is trained again gives
the same update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from client.learning.material import Material
from client.learning.meta_steps import meta_steps
from client.learning.phases import aligner_loss, heard_training_loss, take_phase
from client.task import Task
from shared_models import wire
from shared_models.accelerator import seeded
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Phase
from shared_models.algorithms.warm_up import WARM_UP
from shared_models.features import Features


@dataclass(slots=True)
class LocalRound:
    """What a client's round produced: the update for the server, the losses for its owner."""

    update: wire.Update
    """Shared weights after minus before, not yet clipped."""
    losses: dict[str, list[float]]


PrivateLoop = Callable[[Phase, Sequence[Features], torch.Generator], list[float]]
"""DP-SGD in a phase's place, on its utterances; the losses that it may tell, which are none."""


def local_round(
    model: VoicePartition,
    weights: Tensor,
    material: Material,
    task: Task,
    private_loop: PrivateLoop | None = None,
) -> LocalRound:
    """Train one round from the shared ``weights`` ``(D,)``; the model's personal set is updated in place.

    ``private_loop`` takes the place of the phases that may be private.
    """
    model.load_shared_vector(weights)
    if task.recipe.algorithm.newcomers:
        model.reset_personal()
    model.model.train()
    # Dropout draws from torch's own generator.
    with seeded(task.seed("dropout"), model.device):
        losses = _train(model, weights, material, task, private_loop)
    return LocalRound(wire.form_update(model, weights, task.round), {"inner": [], "outer": []} | losses)


def _train(
    model: VoicePartition,
    weights: Tensor,
    material: Material,
    task: Task,
    private_loop: PrivateLoop | None,
) -> dict[str, list[float]]:
    recipe, algorithm = task.recipe, task.recipe.algorithm
    rng = task.generator("local")
    if task.round <= recipe.aligner.warmup_rounds:
        utterances = material.of(WARM_UP.material)
        return {"outer": take_phase(WARM_UP, model, utterances, recipe, rng, loss_of=aligner_loss)}
    if algorithm.order:
        return meta_steps(
            algorithm, model, material, recipe, rng, round_number=task.round, round_weights=weights
        )
    losses = {}
    for name, phase in algorithm.phases.items():
        if not phase.steps(recipe):
            continue
        utterances = material.of(phase.material)
        if phase.private and private_loop is not None:
            losses[name] = private_loop(phase, utterances, rng)
            continue
        losses[name] = take_phase(
            phase, model, utterances, recipe, rng, round_number=task.round,
            loss_of=heard_training_loss, round_weights=weights if phase is algorithm.outer else None,
        )  # fmt: skip
    return losses
