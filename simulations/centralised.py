"""Centralised training: the recordings pooled in one place. The upper bound that a federation is held to.

Model, losses, batches and number of steps are those of the federated arm. Two things differ: a step sees several
speakers, and one optimizer is used throughout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from client.learning.cached_features import CachedFeatures
from client.learning.kept_features import TRAININGS_ROOM, KeptFeatures, Room
from client.learning.phases import LossOf, aligner_loss, contested_loss, heard_training_loss
from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from shared_models.accelerator import Accelerator, accelerator_of, repeat_on, seeded
from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.algorithms.centralised import CENTRALISED
from shared_models.algorithms.learning_rates import falling_outer_rate
from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.mel_adversary import MelAdversary
from shared_models.optimization import adam, load_moments, moments, take_steps
from shared_models.partition import PartitionedModel
from shared_models.seeds import derive_seed, generator
from shared_models.tensor_file import under
from simulations.episodes import Episodes
from simulations.mixed_batch import mixed_batches
from simulations.preparation import Prepared

_PERSONAL = "personal."
_MOMENTS = "moments."
_ADVERSARY = "adversary."
Adversary = MelAdversary | Episodes
"""What learns beside the model, against it."""


def train_centralised(
    recipe: Recipe,
    data: Prepared,
    folder: Path,
    on_round: Callable[[int, float, float, Tensor], None] | None = None,
    initial: Tensor | None = None,
) -> Tensor:
    """Train as many steps as the federation's clients would take together; the shared weights ``(D,)``.

    Starts from ``initial`` ``(D,)``, or from the recipe's random weights. Calls
    ``on_round(round, loss, update_norm, weights)`` after every round's worth of steps, each of which is also a
    checkpoint to go on from.
    """
    torch.set_num_threads(recipe.engine.workers or os.cpu_count() or 1)
    accelerator, room = accelerator_of(recipe.engine), Room(TRAININGS_ROOM)
    device = accelerator.device
    repeat_on(device)
    speakers = [
        KeptFeatures(CachedFeatures(u, data.cache, recipe.features), room, device)
        for u in data.train.values()
    ]
    model = build_model(recipe, voices=len(speakers)).to(device)
    partitioned = PartitionedModel(model)
    for parameter in partitioned.personal_parameters():
        parameter.requires_grad_(any(parameter is row for row in _rows(partitioned)))
    if initial is not None:
        partitioned.load_shared_vector(initial)
    optimizer = adam(
        [
            {"params": partitioned.shared_parameters(), "lr": recipe.client.outer_lr},
            {"params": _rows(partitioned), "lr": recipe.client.inner_lr},
        ]
    )
    adversary = _adversary(recipe, model, len(speakers), accelerator)
    done = _restore(partitioned, optimizer, adversary, folder)
    model.train()
    before = partitioned.shared_vector()
    for number in range(done + 1, recipe.federation.rounds + 1):
        loss = _one_round(partitioned, optimizer, adversary, speakers, recipe, number)
        weights = partitioned.shared_vector()
        if on_round is not None:
            on_round(number, loss, float((weights - before).norm()), weights)
        # After the report: a kill in between makes the round run again, and never leaves it unreported.
        _save(partitioned, optimizer, adversary, folder, recipe, number)
        before = weights
    return before


def _adversary(
    recipe: Recipe, model: VoiceModel, speakers: int, accelerator: Accelerator
) -> Adversary | None:
    if recipe.episodes.from_round is not None:
        return Episodes(recipe, model, speakers, accelerator.device)
    contest = recipe.adversarial
    return MelAdversary.new(contest, accelerator, recipe.seed) if contest.weight else None


def _one_round(
    model: PartitionedModel,  # type: ignore[type-arg]
    optimizer: torch.optim.Optimizer,
    adversary: Adversary | None,
    speakers: Sequence[Sequence[Features]],
    recipe: Recipe,
    number: int,
) -> float:
    """One round's worth of steps: cohort times outer steps. The mean loss."""
    rng = generator(recipe.seed, "centralised", number)
    optimizer.param_groups[0]["lr"] = falling_outer_rate(recipe, number)
    steps = CENTRALISED.outer.steps(recipe)
    trained = [*model.shared_parameters(), *_rows(model)]

    loss_of = _loss_of(recipe, number, adversary)
    batches = mixed_batches(speakers, recipe, rng, steps)

    def next_loss() -> Tensor:
        return loss_of(model.model, next(batches), recipe, rng)

    with seeded(derive_seed(recipe.seed, "centralised dropout", number), trained[0].device):
        losses = take_steps(next_loss, trained, optimizer, recipe.client.gradient_clip, steps=steps)
    return sum(losses) / len(losses)


def _loss_of(recipe: Recipe, number: int, adversary: Adversary | None) -> LossOf:
    if number <= recipe.aligner.warmup_rounds:
        return aligner_loss
    if isinstance(adversary, Episodes):
        return adversary.loss if adversary.learns_in(number) else heard_training_loss
    if adversary is None or not recipe.adversarial.learns_in(number):
        return heard_training_loss
    return contested_loss(adversary, pulls=recipe.adversarial.pulls_in(number), heard=True)


def _rows(model: PartitionedModel[VoiceModel]) -> list[torch.nn.Parameter]:
    """What has a row for each speaker (their voices, and the classification of them), and the reader of content.

    Whatever else is personal would be all speakers' together, and no newcomer has it: it stays at its start.
    """
    beside = [part for part in (model.model.classifier, model.model.content) if part is not None]
    return [*model.model.voices.parameters(), *(p for part in beside for p in part.parameters())]


def _save(
    model: PartitionedModel,  # type: ignore[type-arg]
    optimizer: torch.optim.Optimizer,
    adversary: Adversary | None,
    folder: Path,
    recipe: Recipe,
    number: int,
) -> None:
    extra = {f"{_PERSONAL}{name}": value for name, value in model.personal_state().items()}
    extra |= {f"{_MOMENTS}{name}": value for name, value in moments(optimizer).items()}
    if adversary is not None:
        extra |= {f"{_ADVERSARY}{name}": value for name, value in adversary.state().items()}
    checkpoint = Checkpoint(
        number, model.shared_vector(), model.partition.schema, recipe.model_dump_json(), optimizer=extra
    )
    save_checkpoint(folder, checkpoint)


def _restore(
    model: PartitionedModel,  # type: ignore[type-arg]
    optimizer: torch.optim.Optimizer,
    adversary: Adversary | None,
    folder: Path,
) -> int:
    checkpoint = latest_checkpoint(folder, schema=model.partition.schema)
    if checkpoint is None:
        return 0
    model.load_shared_vector(checkpoint.weights)
    model.load_personal_state(under(checkpoint.optimizer, _PERSONAL))
    load_moments(optimizer, under(checkpoint.optimizer, _MOMENTS))
    if adversary is not None:
        adversary.load(under(checkpoint.optimizer, _ADVERSARY))
    return checkpoint.round
