"""A smaller model taught by a larger one, under teacher forcing.

Teacher and student get the same utterances, durations, pitch, energy, references and frames. The student
is held to the recording, as always, and to what the teacher makes of it: its mel, which has no noise that
cannot be predicted, and its log-durations, pitch and energy, phoneme by phoneme (knowledge distillation for
regression: sequence-level targets as in FastSpeech, arXiv 1905.09263, mixed with the truth). Personal sets
stay 0: what is taught is the shared model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from client.app import CachedFeatures
from client.base_model import BaseModel
from client.training import VoicePartition, crop_reference, outer_learning_rate
from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from shared_models.acoustic import build_model
from shared_models.acoustic.dimensions import dimensions
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.features import Batch, Features, collate
from shared_models.losses import acoustic_loss, alignment_loss
from shared_models.partition import PartitionedModel
from shared_models.seeds import derive_seed, generator
from simulations.deployment.tuning import Progress, Tuning, claim, finished, tuning_recipe
from simulations.preparation import Prepared

TAUGHT = 0.5
"""Weight of the teacher's targets; the recording's is the rest."""


def smaller_model(recipe: Recipe) -> dict[str, Any]:
    """Changes that make a student of half the teacher's depth and feed-forward width: about 2.5 times smaller."""
    d = dimensions(recipe.model)
    return {
        "model.encoder_layers": -(-d.encoder_layers // 2),
        "model.decoder_layers": -(-d.decoder_layers // 2),
        "model.filter": max(8, d.filter // 2),
    }


def distil(
    teacher: BaseModel,
    model: Mapping[str, Any],
    data: Prepared,
    tuning: Tuning,
    folder: Path,
    on_round: Callable[[int, float], None] | None = None,
    progress: Progress | None = None,
) -> BaseModel:
    """Teach a model with the dotted changes ``model`` of the teacher's recipe; the student, as a base.

    It is kept in ``folder/base.safetensors``. ``on_round(round, loss)`` is told of every 50 steps, each of
    which is a checkpoint to go on from: interrupted and called again, the outcome is the same. Raises
    :class:`RecipeError` for changes beyond the model, or recordings that the teacher cannot align.
    """
    if wrong := [path for path in model if not path.startswith("model.")]:
        raise RecipeError(f"a student differs from its teacher in [model] alone, and not in '{wrong[0]}'")
    recipe = tuning_recipe(teacher.recipe, tuning, model)
    training = folder / "training"
    settings = {"base": teacher.hash, "recipe": recipe.digest, "data": data.recipe.corpus.model_dump()}
    claim(training, settings)
    student = PartitionedModel(build_model(recipe))
    speakers = [CachedFeatures(u, data.cache, recipe.features) for u in data.train.values()]
    parameters = student.shared_parameters()
    optimizer = torch.optim.Adam(parameters, lr=recipe.client.outer_lr, betas=(0.9, 0.99), fused=True)
    done = _restore(student, optimizer, training)
    teacher.model.model.eval()
    student.model.train()
    for number in range(done + 1, recipe.federation.rounds + 1):
        loss = _one_round(teacher.model.model, student, optimizer, speakers, recipe, number)
        if on_round is not None:
            on_round(number, loss)
        _save(student, optimizer, training, recipe, number)
        if progress is not None:
            progress(number, recipe.federation.rounds)
    return finished(training, teacher.recipe.override(dict(model)), folder / "base.safetensors")


def taught_loss(
    teacher: VoiceModel, student: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator
) -> Tensor:
    """The student's loss on ``batch``: :data:`TAUGHT` of it against the teacher, the rest against the recording."""
    with torch.no_grad():
        durations = _durations(teacher, batch)
    # One generator twice from the same state: both decode the same run of frames.
    again = torch.Generator()
    again.set_state(rng.get_state())
    with torch.no_grad():
        shown = _forward(teacher, batch, durations, recipe, again)
    output = _forward(student, batch, durations, recipe, rng)
    targets = replace(output, mel_target=shown.mel, target=shown.predicted)
    true, taught = acoustic_loss(output, batch).total, acoustic_loss(targets, batch).total
    loss = (1 - TAUGHT) * true + TAUGHT * taught
    if student.aligner is not None:
        loss = loss + alignment_loss(student.align(batch), weights=recipe.aligner)
    return loss


def _forward(
    model: VoiceModel, batch: Batch, durations: Tensor, recipe: Recipe, rng: torch.Generator
) -> AcousticOutput:
    output: AcousticOutput = model.acoustic(
        batch, durations, model.condition(batch), window=recipe.client.window_frames, generator=rng
    )
    return output


def _durations(teacher: VoiceModel, batch: Batch) -> Tensor:
    if batch.durations is not None and not teacher.always_align:
        return batch.durations
    return teacher.align(batch).durations


def _one_round(
    teacher: VoiceModel,
    student: VoicePartition,
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
            loss = taught_loss(teacher, student.model, _batch(speakers, recipe, rng), recipe, rng)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(student.shared_parameters(), recipe.client.gradient_clip)
            optimizer.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


def _batch(speakers: Sequence[Sequence[Features]], recipe: Recipe, rng: torch.Generator) -> Batch:
    """Utterances of random speakers, each with another of the speaker's as its reference."""
    items, references = [], []
    for row in torch.randint(len(speakers), (recipe.client.batch_size,), generator=rng).tolist():
        spoken, heard = torch.randperm(len(speakers[row]), generator=rng)[:2].tolist()
        items.append(speakers[row][spoken])
        references.append(crop_reference(speakers[row][heard].mel, recipe, rng))
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
