"""The loop in which one model is taught by another, whatever the lesson: resumable, and the same every time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from client.app import CachedFeatures
from client.training import VoicePartition, crop_reference, outer_learning_rate
from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from shared_models.config import Recipe
from shared_models.features import Batch, Features, collate
from shared_models.seeds import derive_seed, generator
from simulations.benchmarks.threads import torch_threads
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
    speakers = [CachedFeatures(u, data.cache, recipe.features) for u in data.train.values()]
    optimizer = torch.optim.Adam(parameters, lr=recipe.client.outer_lr, betas=(0.9, 0.99), fused=True)
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
    optimizer.param_groups[0]["lr"] = outer_learning_rate(recipe, number)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "distillation dropout", number))
        for _ in range(recipe.client.outer_steps):
            loss = lesson(_batch(speakers, recipe, rng), rng)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(parameters, recipe.client.gradient_clip)
            optimizer.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


def _batch(speakers: Sequence[Sequence[Features]], recipe: Recipe, rng: torch.Generator) -> Batch:
    """Utterances of random speakers, each with another of the speaker's as its reference."""
    items, references = [], []
    for row in torch.randint(len(speakers), (recipe.client.batch_size,), generator=rng).tolist():
        order = torch.randperm(len(speakers[row]), generator=rng)[:2].tolist()
        items.append(speakers[row][order[0]])
        references.append(crop_reference(speakers[row][order[-1]].mel, recipe, rng))
    return collate(items, references)


def _save(
    student: VoicePartition, optimizer: torch.optim.Optimizer, folder: Path, recipe: Recipe, number: int
) -> None:
    moments = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, found in optimizer.state_dict()["state"].items()
        for name, value in found.items()
    }
    weights, schema = student.shared_vector(), student.partition.schema
    save_checkpoint(folder, Checkpoint(number, weights, schema, recipe.model_dump_json(), optimizer=moments))


def _restore(student: VoicePartition, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    checkpoint = latest_checkpoint(folder, schema=student.partition.schema)
    if checkpoint is None:
        return 0
    student.load_shared_vector(checkpoint.weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in checkpoint.optimizer.items():
        index, moment = name.split(".")
        state.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return checkpoint.round
