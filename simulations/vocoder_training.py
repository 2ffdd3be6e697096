"""Training a vocoder on pooled public speech, in one place; it can be killed and resumed at any instant.

Every step draws its segments by its own number, and a checkpoint holds all that the next step depends on,
so a training that was interrupted ends with the same weights, bit for bit, as one that was not (on the same
machine and number of threads).

::

    RUN/recipe.json, environment.json
        waves/                  the corpus as samples
        start.safetensors       what it began with, if that was not chance
        checkpoints/            the newest two
        metrics.jsonl           losses, and the validation on unseen speakers
        vocoder.safetensors     the averaged generator, once training is over
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from client.learning.vocoder_figures import Figures, told_figures
from client.learning.vocoder_training import VocoderTrainer
from shared_models.accelerator import accelerator_of, repeat_on
from shared_models.audio.mel import HOP, log_mel
from shared_models.audio.wave_segments import (
    Samples,
    WaveSegments,
    cut,
    long_enough,
    random_segments,
    segments_of,
)
from shared_models.config import Recipe
from shared_models.files import append_line
from shared_models.plain_json import finite
from shared_models.seeds import generator
from shared_models.vocoders.adversarial_losses import mel_loss
from shared_models.vocoders.from_recipe import dimensions_of, generator_of
from shared_models.vocoders.vocoder_file import save_vocoder
from simulations.run_folder import RunFolder
from simulations.step_checkpoints import forget_after, keep, restore
from simulations.vocoder_start import begin_with, keep_start
from simulations.vocoder_waves import VocoderWaves

FORMAT = "fedvoice-vocoder-training-2"
_REPORT_EVERY = 50
VALIDATION_FRAMES = 64


def train_vocoder(
    run: RunFolder,
    recipe: Recipe,
    waves: VocoderWaves,
    on_step: Callable[[int, int], None] | None = None,
    on_metrics: Callable[[dict[str, Any]], None] | None = None,
    start: str | Path | None = None,
    minutes: float | None = None,
) -> Path:
    """Train, or go on training, up to the recipe's last step; the path of the vocoder file.

    ``minutes`` ends it sooner, with a checkpoint to go on from; the vocoder file then holds what there is.

    ``start`` is a vocoder of the recipe's sizes to begin with. ``on_metrics`` gets every line of
    ``metrics.jsonl``. Raises :class:`CheckpointError` where training diverges or the checkpoints are another
    recipe's, and :class:`CorpusError` for a start of another size.
    """
    torch.set_num_threads(recipe.engine.threads)
    config = recipe.vocoder
    speakers = list(waves.long_enough(config.drawn_frames).train.values())
    held_out = validation_segments(waves)
    untrained = generator_of(config, recipe.seed)
    first = keep_start(run, start)
    if first is not None:
        begin_with(untrained, first)
    device = accelerator_of(recipe.engine).device
    repeat_on(device)
    trainer = VocoderTrainer(untrained.to(device), config, recipe.seed)
    done = restore(trainer, run.path / "checkpoints", FORMAT, "a vocoder's training")
    forget_after(run.path / "metrics.jsonl", done)
    unread: dict[int, Figures] = {}
    started = time.monotonic()
    ends = started + 60.0 * minutes if minutes is not None else float("inf")
    for number in range(done + 1, config.steps + 1):
        rng = generator(recipe.seed, "vocoder segments", number)
        segments = random_segments(speakers, config.batch_size, config.drawn_frames, rng)
        unread[number] = trainer.step(segments, number)
        last = number == config.steps or time.monotonic() >= ends
        keeping = last or number % config.checkpoint_every == 0
        validating = last or number % config.validate_every == 0
        if number % _REPORT_EVERY == 0 or keeping or validating:
            line: dict[str, Any] = {"step": number, **_means(told_figures(unread))}
            line["seconds"] = time.monotonic() - started
            if validating:
                line |= validate(trainer, held_out)
            append_line(run.path / "metrics.jsonl", json.dumps(finite(line)), durable=keeping)
            if on_metrics is not None:
                on_metrics(line)
            unread, started = {}, time.monotonic()
        if keeping:
            keep(trainer, run.path / "checkpoints", number, FORMAT)
        if on_step is not None:
            on_step(number, config.steps)
        done = number
        if last:
            break
    return export(trainer, run, recipe, done)


def _means(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Each figure's mean over the steps that have it."""
    found: dict[str, list[float]] = {}
    for name, value in (pair for step in figures for pair in step.items()):
        found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def validation_segments(waves: VocoderWaves) -> WaveSegments | None:
    """One fixed segment of each held-out recording that is long enough; None if there is none."""
    chosen: list[Samples] = [
        recording
        for recordings in waves.test.values()
        for recording in recordings
        if long_enough(len(recording), VALIDATION_FRAMES)
    ]
    if not chosen:
        return None
    return segments_of(torch.stack([_middle(recording) for recording in chosen]))


def _middle(recording: Samples) -> torch.Tensor:
    return cut(recording, (len(recording) - VALIDATION_FRAMES * HOP) // 2, VALIDATION_FRAMES)


@torch.no_grad()
def validate(trainer: VocoderTrainer, held_out: WaveSegments | None) -> dict[str, float]:
    """Mel distances of the averaged generator: full band as it is trained, and in the models' own mel."""
    if held_out is None:
        return {}
    full, models = [], []
    held_out = held_out.to(next(trainer.average.parameters()).device)
    for mel, wave in zip(torch.split(held_out.mel, 8), torch.split(held_out.wave, 8), strict=True):
        generated = trainer.average(mel)
        full.append(mel_loss(generated, wave) * len(mel))
        models.append((log_mel(generated) - log_mel(wave)).abs().mean() * len(mel))
    count = len(held_out.mel)
    return {
        "validation_full_band": float(sum(full)) / count,
        "validation_mel": float(sum(models)) / count,
    }


def export(trainer: VocoderTrainer, run: RunFolder, recipe: Recipe, steps: int) -> Path:
    """Write the averaged generator, after so many steps, as a vocoder file."""
    path = run.path / "vocoder.safetensors"
    notes = {
        "recipe": recipe.name,
        "digest": recipe.digest,
        "steps": str(steps),
    }
    save_vocoder(path, trainer.average, recipe.vocoder.kind, dimensions_of(recipe.vocoder), notes)
    return path
