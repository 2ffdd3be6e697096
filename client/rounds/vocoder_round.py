"""One client's part of a round that trains a vocoder: both sides of the game, and the generator's update.

The steps are those of pooled training (:mod:`client.learning.vocoder_training`), on the device's own recordings. The
optimizers start anew in every round, as the acoustic model's do; the discriminators are kept by the device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from client.home.device import Device
from client.learning.vocoder_figures import main_loss, told_figures
from client.learning.vocoder_training import VocoderTrainer
from client.task import Task
from shared_models import wire
from shared_models.audio.alignment import read_alignment
from shared_models.audio.extraction import load_speech
from shared_models.audio.wave_segments import Samples, long_enough, random_segments
from shared_models.config import Recipe, VocoderConfig
from shared_models.errors import AudioError, CorpusError
from shared_models.partition import PartitionedModel
from shared_models.seeds import derive_seed
from shared_models.utterance import Utterance
from shared_models.vocoders.adversarial_model import AdversarialVocoder

VocoderPartition = PartitionedModel[AdversarialVocoder]
MOST_RECORDINGS = 16
"""Recordings that a round reads: what its segments are drawn from."""


@dataclass(frozen=True, slots=True)
class VocoderRound:
    """What the round produced: the update for the server, the losses for the device's owner."""

    update: wire.Update
    losses: list[float]
    left_out: list[str]
    """Why recordings that it came upon could not be read."""


def train_vocoder_on_device(
    model: VocoderPartition,
    weights: Tensor,
    device: Device,
    task: Task,
) -> wire.Update:
    """One round on one device's files: discriminators from and to disk, losses to the owner's log."""
    started = time.monotonic()
    kept = device.load_personal(task.run, task.round, like=model.personal_state())
    if kept is None:
        model.reset_personal()
    else:
        model.load_personal_state(kept)
    result = vocoder_round(model, weights, device.recordings, task)
    device.save_personal(task.run, task.round, model.personal_state())
    seconds = round(time.monotonic() - started, 3)
    named = {"left_out": result.left_out} if result.left_out else {}
    device.log({"run": task.run, "round": task.round, "seconds": seconds, "outer": result.losses} | named)
    return result.update


def vocoder_round(
    model: VocoderPartition,
    weights: Tensor,
    recordings: Sequence[Utterance],
    task: Task,
) -> VocoderRound:
    """Train ``client.outer_steps`` steps from the shared ``weights`` ``(D,)``; the discriminators move in place.

    Raises :class:`CorpusError` if no recording is as long as a segment, and :class:`CheckpointError` if a loss is not
    finite.
    """
    recipe, config = task.recipe, _schedule(task.recipe)
    rng = task.generator("vocoder round")
    model.load_shared_vector(weights)
    waves, left_out = _waves(recordings, recipe, config, rng)
    parts = model.model
    seed = derive_seed(recipe.seed, "vocoder client", task.member)
    trainer = VocoderTrainer(parts.generator, config, seed, parts.discriminators)
    steps = recipe.client.outer_steps
    figures = {}
    for number in range((task.round - 1) * steps + 1, task.round * steps + 1):
        segments = random_segments([waves], config.batch_size, config.drawn_frames, rng)
        figures[number] = trainer.step(segments, number)
    losses = [main_loss(told) for told in told_figures(figures)]
    return VocoderRound(wire.form_update(model, weights, task.round), losses, left_out)


def _schedule(recipe: Recipe) -> VocoderConfig:
    """The recipe's section with its schedule over all of the federation's local steps."""
    steps = recipe.federation.rounds * recipe.client.outer_steps
    return recipe.vocoder.model_copy(update={"steps": steps})


def _waves(
    recordings: Sequence[Utterance], recipe: Recipe, config: VocoderConfig, rng: torch.Generator
) -> tuple[list[Samples], list[str]]:
    waves: list[Samples] = []
    left_out: list[str] = []
    for index in torch.randperm(len(recordings), generator=rng).tolist():
        recording = recordings[index]
        try:
            phones = read_alignment(recording.alignment) if recording.alignment is not None else None
            wave = load_speech(recording.audio, recipe.features, phones).wave
        except AudioError as error:  # a damaged recording never ends a run
            left_out.append(str(error))
            continue
        if long_enough(len(wave), config.drawn_frames):
            waves.append(wave)
        if len(waves) == MOST_RECORDINGS:
            break
    if not waves:
        why = f" (first problem: {left_out[0]})" if left_out else ""
        raise CorpusError(
            f"no recording holds the {config.drawn_frames} frames that a vocoder's segment takes{why}"
        )
    return waves, left_out
