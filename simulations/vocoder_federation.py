"""Training a vocoder across simulated devices: the generator travels, discriminators and recordings do not.

::

    RUN/recipe.json, environment.json
        arms/vocoder/metrics.jsonl, checkpoints/, devices/
        vocoder.safetensors     the generator after the last round
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from client.app import DEVICES_VARIABLE
from server.app import make_app, plan_for
from server.checkpoints import latest_checkpoint
from server.rounds import RoundReport
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import log_mel
from shared_models.audio.wave_segments import Samples, WaveSegments, to_int16
from shared_models.config import Recipe
from shared_models.errors import AudioError
from shared_models.partition import PartitionedModel
from shared_models.vocoders.adversarial_model import AdversarialVocoder
from shared_models.vocoders.from_recipe import dimensions_of
from shared_models.vocoders.vocoder_file import save_vocoder
from simulations.corpora import Corpus, open_corpus
from simulations.engine import run_federation
from simulations.preparation import default_cache, make_devices
from simulations.run_folder import RunFolder
from simulations.simulate import privacy_statement
from simulations.validation import training_loss_of_round
from simulations.vocoder_start import begin_with, keep_start
from simulations.vocoder_training import validation_segments
from simulations.vocoder_waves import VocoderWaves

ARM = "vocoder"
Tell = Callable[[dict[str, Any]], None]


def federate_vocoder(
    run: RunFolder, recipe: Recipe, tell: Tell | None = None, start: str | Path | None = None
) -> dict[str, Any]:
    """Run, or go on with, the federation; where the vocoder file is, and the figures of the last round.

    ``start`` is a vocoder file of the recipe's sizes to begin with, say one that was trained on public speech.
    """
    corpus = open_corpus(recipe.corpus)
    speakers = corpus.speakers("train")
    recipe = recipe.override({"federation.cohort": min(recipe.federation.cohort, len(speakers))})
    folder = run.arm(ARM)
    name = f"{recipe.name}-{ARM}"
    model = PartitionedModel(AdversarialVocoder(recipe))
    first = keep_start(run, start)
    if first is not None:
        begin_with(model.model.generator, first)
    initial = model.shared_vector() if first is not None else None
    plan = plan_for(recipe, folder.checkpoints, name, len(speakers), initial=initial, seeded_noise=True)
    devices = make_devices(folder.devices.resolve(), speakers, default_cache().resolve())
    held_out = _held_out(corpus, recipe)

    def on_round(report: RoundReport, weights: Tensor) -> None:
        due = report.round % recipe.evaluation.every == 0 or report.round in {1, recipe.federation.rounds}
        metrics = {
            "round": report.round,
            "train_loss": training_loss_of_round(devices, name, report.round),
            "validation_loss": _distance(model, weights, held_out) if due else None,
            "seconds": round(report.seconds, 3),
            "update_norm": report.update_norm,
            "epsilon": report.epsilon,
            "clients": report.clients,
            "dropped": report.dropped,
        }
        folder.append(metrics)
        if tell is not None:
            tell(metrics)

    run_federation(
        make_app(plan, on_round),
        engine=recipe.engine,
        clients=plan.clients,
        environment={DEVICES_VARIABLE: str(devices)},
    )
    return {
        "vocoder": str(_save(run, recipe, model)),
        "clients": plan.clients,
        "coordinates": plan.partition.size,
        "last": folder.metrics()[-1],
        "privacy": privacy_statement(recipe, plan),
    }


def _held_out(corpus: Corpus, recipe: Recipe) -> WaveSegments | None:
    """A segment of a few recordings of every unseen speaker; None where there are none."""
    waves: dict[str, list[Samples]] = {}
    for speaker, recordings in corpus.speakers("test").items():
        for recording in list(recordings)[: recipe.vocoder.validation_recordings]:
            with contextlib.suppress(AudioError):  # one recording less to measure on
                wave = load_speech(recording.audio, recipe.features).wave
                waves.setdefault(speaker, []).append(to_int16(wave))
    return validation_segments(VocoderWaves({}, waves))


@torch.no_grad()
def _distance(
    model: PartitionedModel[AdversarialVocoder], weights: Tensor, held_out: WaveSegments | None
) -> float:
    """Mean L1 of the models' mel between copies and recordings of unseen speakers."""
    if held_out is None:
        return math.nan
    model.load_shared_vector(weights)
    generator = model.model.generator.eval()
    copies = torch.cat([generator(mel) for mel in torch.split(held_out.mel, 8)])
    return float((log_mel(copies) - log_mel(held_out.wave)).abs().mean())


def _save(run: RunFolder, recipe: Recipe, model: PartitionedModel[AdversarialVocoder]) -> Path:
    last = latest_checkpoint(run.arm(ARM).checkpoints, schema=model.partition.schema)
    assert last is not None
    model.load_shared_vector(last.weights)
    path = run.path / "vocoder.safetensors"
    notes = {"recipe": recipe.name, "digest": recipe.digest, "rounds": str(last.round)}
    save_vocoder(path, model.model.generator, recipe.vocoder.kind, dimensions_of(recipe.vocoder), notes)
    return path
