"""A base with narrower feed-forward layers: pruned by magnitude, taught by the whole one, and pruned further.

In several stages, because a model forgives the loss of a few weak channels better than that of many, and
training between the stages moves what it needs into those that stay (Zhu & Gupta 2017, arXiv 1710.01878).
What it is fine-tuned to is how the whole base speaks (see :mod:`simulations.deployment.imitation`): trained again
on recordings, it would move away from the base in more than what pruning took.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared_models.accelerator import Accelerator, copied_to
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.base_model import BaseModel, load_base
from shared_models.export.pruning import STEP, acoustic_width, prune_acoustic
from shared_models.partition import PartitionedModel, weights_hash
from shared_models.speakers.voice import Voice
from simulations.deployment.imitation import Imitation, voices_hash
from simulations.deployment.teaching import teach
from simulations.deployment.tuning import Progress, Tuning, finished, save_base, tuning_recipe
from simulations.preparation import Prepared
from simulations.step_checkpoints import claim


@dataclass(frozen=True, slots=True)
class Pruning:
    """How much smaller, in how many stages."""

    ratio: float = 2.0
    """Of the acoustic model's parameters before and after."""
    stages: int = 2


def prune_base(
    base: BaseModel,
    pruning: Pruning,
    folder: Path,
    tuning: Tuning | None = None,
    data: Prepared | None = None,
    progress: Progress | None = None,
    voices: Sequence[Voice] = (),
) -> BaseModel:
    """``base`` with an acoustic model ``pruning.ratio`` times smaller, in ``folder/base.safetensors``.

    Each stage is fine-tuned to speak the texts of ``data`` as ``base`` does, in the voices of its speakers and in
    ``voices`` (one row each), with an equal share of ``tuning.steps``; without data, or steps, it is pruned alone.
    Can be interrupted and called again. Raises :class:`RecipeError` for a ratio that no width reaches.
    """
    path = folder / "base.safetensors"
    widths = stage_widths(base.model.model, pruning)
    if tuning is None or data is None or tuning.steps == 0:
        pruned = _pruned(base, widths[-1])
        save_base(path, pruned, pruned.recipe)
        return load_base(path)
    share = math.ceil(tuning.steps / len(widths))
    settings = {"base": base.hash, "widths": widths, "data": data.recipe.corpus.model_dump()}
    if voices:
        settings["voices"] = voices_hash(voices)
    digest = tuning_recipe(base.recipe, replace(tuning, steps=share)).digest
    claim(folder / "training", settings | {"recipe": digest})
    device = Accelerator.resolve(tuning.device).device
    original, speaking = copied_to(base.model.model, device), [voice.to(device) for voice in voices]
    current = base
    for stage, width in enumerate(widths):
        current = _pruned(current, width).to(device)
        recipe = tuning_recipe(current.recipe, replace(tuning, steps=share))
        student = current.model.model
        place = folder / "training" / f"stage-{stage + 1}"
        teach(
            current.model,
            list(student.acoustic.parameters()),
            Imitation(original, student, recipe.client.window_frames, speaking),
            recipe,
            data,
            place,
            _watch(progress, stage, len(widths), recipe.federation.rounds),
        )
        current = finished(place, base.recipe.override({"model.filter": width}), path, base)
    return current


def stage_widths(model: VoiceModel, pruning: Pruning) -> list[int]:
    """Falling widths, by equal factors, down to the one that has the ratio."""
    last, first = acoustic_width(model, pruning.ratio), model.dimensions.filter
    factor = (last / first) ** (1 / pruning.stages)
    planned = [max(last, round(first * factor**n / STEP) * STEP) for n in range(1, pruning.stages)]
    return sorted({width for width in [*planned, last] if width < first}, reverse=True)


def _pruned(base: BaseModel, width: int) -> BaseModel:
    model, recipe = prune_acoustic(base.model.model, base.recipe, width)
    partitioned = PartitionedModel(model)
    found = weights_hash(partitioned.shared_vector())
    return replace(base, model=partitioned, recipe=recipe, hash=found)


def _watch(progress: Progress | None, stage: int, stages: int, rounds: int) -> Callable[[int, float], None]:
    def tell(number: int, _loss: float) -> None:
        if progress is not None:
            progress(stage * rounds + number, stages * rounds)

    return tell
