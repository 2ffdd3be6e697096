"""Meta-learning on pooled recordings, as in Meta-TTS (Huang 2022, arXiv 2111.04040): what its federation is held to.

A task is a speaker, whose utterances are split as a device splits them. A step is one of the outer optimizer down the
mean loss of as many tasks as a federation's cohort has devices, drawn with replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from client.learning.cached_features import CachedFeatures
from client.learning.kept_features import TRAININGS_ROOM, KeptFeatures, Room
from client.learning.material import Material
from client.learning.meta_steps import task_loss
from client.learning.phases import freeze_all_but, optimizer_of, parameters_of
from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from shared_models.accelerator import accelerator_of, on_host, repeat_on, seeded
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.config import Recipe
from shared_models.federated_model import federated_voice_model
from shared_models.optimization import load_moments, moments
from shared_models.seeds import derive_seed, generator
from simulations.preparation import Prepared


def train_meta_centralised(
    recipe: Recipe,
    data: Prepared,
    folder: Path,
    on_round: Callable[[int, float, float, Tensor], None] | None = None,
    initial: Tensor | None = None,
) -> Tensor:
    """As :func:`~simulations.centralised.train_centralised`, by an algorithm of order 1 or 2 on pooled recordings.

    Raises :class:`RecipeError` where DP-SGD is asked for.
    """
    recipe.refuse_private_meta_learning()
    device, room = accelerator_of(recipe.engine).device, Room(TRAININGS_ROOM)
    repeat_on(device)
    tasks = [
        Material.split(
            KeptFeatures(CachedFeatures(u, data.cache, recipe.features), room, device),
            recipe.client.support_fraction,
        )
        for u in data.train.values()
    ]
    model = federated_voice_model(recipe, device)
    if initial is not None:
        model.load_shared_vector(initial)
    outer = recipe.algorithm.outer
    optimizer = optimizer_of(outer, model, recipe, 1)
    done = _restore(model, optimizer, folder)
    model.model.train()
    before = model.shared_vector()
    for number in range(done + 1, recipe.federation.rounds + 1):
        optimizer.param_groups[0]["lr"] = outer.shared_rate(recipe, number)
        loss = _one_round(model, optimizer, tasks, recipe, number)
        weights = model.shared_vector()
        if on_round is not None:
            on_round(number, loss, float((weights - before).norm()), weights)
        # After the report: a kill in between makes the round run again, and never leaves it unreported.
        save_checkpoint(folder, Checkpoint(
            number, weights, model.partition.schema, recipe.model_dump_json(), optimizer=moments(optimizer)
        ))  # fmt: skip
        before = weights
    return before


def _one_round(
    model: VoicePartition,
    optimizer: torch.optim.Optimizer,
    tasks: Sequence[Material],
    recipe: Recipe,
    number: int,
) -> float:
    """A round's outer steps; the mean loss of the outer loop."""
    rng = generator(recipe.seed, "meta-learning", number)
    outer, batch = recipe.algorithm.outer, recipe.federation.cohort
    moved, losses = parameters_of(outer, model), []
    freeze_all_but(moved, model)
    with seeded(derive_seed(recipe.seed, "meta-learning dropout", number), model.device):
        for _ in range(outer.steps(recipe)):
            optimizer.zero_grad(set_to_none=True)
            for task in torch.randint(len(tasks), (batch,), generator=rng).tolist():
                # One task's graph at a time: that of an inner loop is large.
                loss, _ = task_loss(recipe.algorithm, model, tasks[task], recipe, rng, number)
                torch.autograd.backward(loss / batch)
                losses.append(loss.detach())
            torch.nn.utils.clip_grad_norm_(moved, recipe.client.gradient_clip)
            optimizer.step()
    return float(on_host(torch.stack(losses).mean()))


def _restore(model: VoicePartition, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    checkpoint = latest_checkpoint(folder, schema=model.partition.schema)
    if checkpoint is None:
        return 0
    model.load_shared_vector(checkpoint.weights)
    load_moments(optimizer, checkpoint.optimizer)
    return checkpoint.round
