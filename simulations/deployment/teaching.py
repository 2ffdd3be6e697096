"""The loop in which one model is taught by another, whatever the lesson: resumable, and the same every time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from client.learning.cached_features import CachedFeatures
from client.learning.material import on_device
from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from shared_models.accelerator import seeded
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.learning_rates import falling_outer_rate
from shared_models.config import Recipe
from shared_models.features import Batch, Features
from shared_models.optimization import adam, load_moments, moments, take_steps
from shared_models.seeds import derive_seed, generator
from simulations.benchmarks.threads import torch_threads
from simulations.mixed_batch import mixed_batch
from simulations.preparation import Prepared

Lesson = Callable[[Batch, torch.Generator], Tensor]
"""The student's loss on a batch; the generator draws whatever is random in it but dropout."""


def teach(
    student: VoicePartition,
    parameters: Sequence[nn.Parameter],
    lesson: Lesson,
    recipe: Recipe,
    data: Prepared,
    folder: Path,
    on_round: Callable[[int, float], None] | None = None,
) -> None:
    """Train ``parameters`` of ``student`` by ``lesson`` for all rounds of a :func:`tuning_recipe`.

    ``on_round(round, loss)`` is told of each, which is a checkpoint in ``folder`` to go on from: interrupted and
    called again, the outcome is the same.
    """
    device = parameters[0].device
    speakers = [
        on_device(CachedFeatures(u, data.cache, recipe.features), device) for u in data.train.values()
    ]
    optimizer = adam(parameters, recipe.client.outer_lr)
    done = _restore(student, optimizer, folder)
    # As central training: more threads than the recipe's cores wait for each other.
    with torch_threads(recipe.engine.workers or os.cpu_count() or 1):
        for number in range(done + 1, recipe.federation.rounds + 1):
            loss = _one_round(parameters, lesson, optimizer, speakers, recipe, number)
            if on_round is not None:
                on_round(number, loss)
            _save(student, optimizer, folder, recipe, number)


def _one_round(
    parameters: Sequence[nn.Parameter],
    lesson: Lesson,
    optimizer: torch.optim.Optimizer,
    speakers: Sequence[Sequence[Features]],
    recipe: Recipe,
    number: int,
) -> float:
    rng = generator(recipe.seed, "distillation", number)
    optimizer.param_groups[0]["lr"] = falling_outer_rate(recipe, number)

    def next_loss() -> Tensor:
        return lesson(mixed_batch(speakers, recipe, rng, with_voices=False), rng)

    with seeded(derive_seed(recipe.seed, "distillation dropout", number), parameters[0].device):
        losses = take_steps(
            next_loss, parameters, optimizer, recipe.client.gradient_clip, steps=recipe.client.outer_steps
        )
    return sum(losses) / len(losses)


def _save(
    student: VoicePartition, optimizer: torch.optim.Optimizer, folder: Path, recipe: Recipe, number: int
) -> None:
    weights, schema = student.shared_vector(), student.partition.schema
    checkpoint = Checkpoint(number, weights, schema, recipe.model_dump_json(), optimizer=moments(optimizer))
    save_checkpoint(folder, checkpoint)


def _restore(student: VoicePartition, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    checkpoint = latest_checkpoint(folder, schema=student.partition.schema)
    if checkpoint is None:
        return 0
    student.load_shared_vector(checkpoint.weights)
    load_moments(optimizer, checkpoint.optimizer)
    return checkpoint.round
