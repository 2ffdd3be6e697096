"""A smaller model taught by a larger one.

A student that is its teacher with fewer blocks and narrower layers begins as just that, hears speakers as the teacher
does, and learns to speak as it speaks (:mod:`simulations.deployment.imitation`).

Any other begins from nothing, under teacher forcing: both get the same utterances, durations, pitch, energy,
references and frames. The student is held to the recording, as always, and to what the teacher makes of it: its mel,
which has no noise that cannot be predicted, and its log-durations, pitch and energy, phoneme by phoneme (knowledge
distillation for regression: sequence-level targets as in FastSpeech, arXiv 1905.09263, mixed with the truth).

Personal sets stay 0: what is taught is the shared model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared_models.accelerator import accelerator_of, copied_to
from shared_models.acoustic import build_model
from shared_models.acoustic.dimensions import dimensions
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.base_model import BaseModel
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.export.depth import can_be_cut, cut
from shared_models.features import Batch
from shared_models.losses import acoustic_loss, alignment_loss
from shared_models.partition import PartitionedModel
from shared_models.speakers.voice import Voice
from simulations.deployment.imitation import Imitation, voices_hash
from simulations.deployment.teaching import Lesson, teach
from simulations.deployment.tuning import Progress, Tuning, finished, tuning_recipe
from simulations.preparation import Prepared
from simulations.step_checkpoints import claim

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
    voices: Sequence[Voice] = (),
) -> BaseModel:
    """Teach a model with the dotted changes ``model`` of the teacher's recipe; the student, as a base.

    It is kept in ``folder/base.safetensors``. ``on_round(round, loss)`` is told of every 50 steps, each of
    which is a checkpoint to go on from: interrupted and called again, the outcome is the same. ``voices`` (one row
    each) speak beside those of ``data``, where the student hears them as the teacher does. Raises
    :class:`RecipeError` for changes beyond the model, or recordings that the teacher cannot align.
    """
    if wrong := [path for path in model if not path.startswith("model.")]:
        raise RecipeError(f"a student differs from its teacher in [model] alone, and not in '{wrong[0]}'")
    recipe = tuning_recipe(teacher.recipe, tuning, model)
    training = folder / "training"
    settings = {"base": teacher.hash, "recipe": recipe.digest, "data": data.recipe.corpus.model_dump()}
    device = accelerator_of(recipe.engine).device
    source = copied_to(teacher.model.model.eval(), device)
    if can_be_cut(source.dimensions, dimensions(recipe.model)):
        if voices:
            settings["voices"] = voices_hash(voices)
        student = PartitionedModel(cut(source, teacher.recipe, recipe).to(device))
        trained = list(student.model.acoustic.parameters())
        lesson: Lesson = Imitation(
            source, student.model, recipe.client.window_frames, [v.to(device) for v in voices]
        )
    else:
        student = PartitionedModel(build_model(recipe).to(device))
        student.model.train()
        trained = student.shared_parameters()

        def lesson(batch: Batch, rng: torch.Generator) -> Tensor:
            return taught_loss(source, student.model, batch, recipe, rng)

    claim(training, settings)

    def told(number: int, loss: float) -> None:
        if on_round is not None:
            on_round(number, loss)
        if progress is not None:
            progress(number, recipe.federation.rounds)

    teach(student, trained, lesson, recipe, data, training, told)
    return finished(training, teacher.recipe.override(dict(model)), folder / "base.safetensors", teacher)


def taught_loss(
    teacher: VoiceModel, student: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator
) -> Tensor:
    """The student's loss on ``batch``: :data:`TAUGHT` of it against the teacher, the rest against the recording."""
    with torch.no_grad():
        durations, _ = teacher.durations(batch)
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
        batch, durations, model.voice(batch.heard), window=recipe.client.window_frames, generator=rng
    )
    return output
