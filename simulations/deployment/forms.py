"""From a base and a vocoder to the forms in which they are deployed, and a table of what each costs.

::

    OUTPUT/onnx/        voice.json, acoustic.onnx, vocoder.onnx, speaker.safetensors
           int8/        the same with int8 weights; made from onnx/, which is written with it
           pruned/      base.safetensors, vocoder.safetensors, the same graphs of those, training/
           distilled/   as pruned/, with the vocoder left as it is
           figures.json the table
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.cloning import voice_of_nobody, zero_shot
from shared_models.base_model import BaseModel
from shared_models.errors import RecipeError
from shared_models.export.depth import can_be_cut, kept_sites
from shared_models.export.onnx_voice import OnnxVoice
from shared_models.export.pruning import ConvNeXtVocoder
from shared_models.export.voice_folder import quantize_voice, write_voice
from shared_models.features import Features
from shared_models.files import write_atomically
from shared_models.plain_json import finite
from shared_models.speakers.voice import Voice
from shared_models.vocoders import NeuralVocoder
from simulations.deployment.distillation import distil, smaller_model
from simulations.deployment.figures import (
    THREADS,
    Figures,
    Spoken,
    exported_size,
    exported_synthesis,
    judge,
    original_size,
    original_synthesis,
    sentences,
    speak_all,
)
from simulations.deployment.pruned_base import Pruning, prune_base
from simulations.deployment.pruned_vocoder import Tune, prune_vocoder, spoken_mels, tune_by_original
from simulations.deployment.tuning import Stage, Tuning, prepare_tuning
from simulations.preparation import Prepared

FORMS = ("onnx", "int8", "pruned", "distilled")
ORIGINAL = "original"
_TEXTS = 400
"""Spoken at most for the pruned vocoder to learn on; a short training, whose steps are fewer, has no use for all."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is deployed."""

    base: BaseModel
    vocoder: NeuralVocoder
    recordings: Sequence[Features] = ()
    """Of the person whose voice speaks by default, heard zero-shot; the voice of nobody without any."""
    voice: Voice | None = None
    """A voice of the base, instead: forms that are cut from the base speak in it too."""

    def speaker(self, base: BaseModel) -> Voice:
        """That voice as ``base`` hears it: a student that was not cut from the base hears it in its own way."""
        if self.recordings:
            return zero_shot(base.model, self.recordings)
        before, after = self.base.model.model.dimensions, base.model.model.dimensions
        if self.voice is not None and can_be_cut(before, after):
            return self.voice.at_sites(kept_sites(before, after), self.base.model.model.takes)
        return voice_of_nobody(base.model)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which forms, and how they are made."""

    forms: Sequence[str] = FORMS
    pruning: Pruning = field(default_factory=Pruning)
    tuning: Tuning = field(default_factory=Tuning)
    student: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the recipe's [model] for the distilled form; half the depth and width if empty."""
    vocoder_steps: int = 0
    """Of the pruned vocoder's training; 0 prunes alone."""
    sentences: int = 10
    """Spoken by each form for the table."""


def deploy(source: Source, output: Path, plan: Plan, stage: Stage) -> list[Figures]:
    """Make every form of ``plan`` in ``output`` and judge it; the original's row comes first.

    Training goes on where it was interrupted. Raises :class:`RecipeError` for a form that there is not, or
    cannot be made of this source, :class:`CorpusError` for speech to train on that is missing,
    :class:`MissingExtraError`, and StorageError.
    """
    if unknown := [form for form in plan.forms if form not in FORMS]:
        raise RecipeError(f"there is no form '{unknown[0]}'; choose one of {', '.join(FORMS)}, or all")
    said = sentences(plan.sentences)
    speaks = original_synthesis(source.base, source.vocoder, source.speaker(source.base))
    original = speak_all(speaks, said, stage("speaking as the original"))
    size = original_size(source.base, source.vocoder)
    rows = [judge(ORIGINAL, size, original, original, said)]
    data: Prepared | None = None
    trained = {"pruned": plan.tuning.steps + plan.vocoder_steps, "distilled": plan.tuning.steps}
    if any(trained.get(form) for form in plan.forms):
        data = prepare_tuning(source.base.recipe, plan.tuning, stage("features"))
    for form in plan.forms:
        folder = _make(form, source, output, plan, data, stage)
        rows.append(_judge_folder(form, folder, original, said, stage))
    table = {"threads": THREADS, "sentences": len(said), "forms": [row.as_json() for row in rows]}
    write_atomically(output / "figures.json", json.dumps(finite(table), indent=1) + "\n")
    return rows


def _make(form: str, source: Source, output: Path, plan: Plan, data: Prepared | None, stage: Stage) -> Path:
    folder = output / form
    match form:
        case "onnx":
            _write(folder, form, source, source.base, source.vocoder, stage)
        case "int8":
            exact = output / "onnx"
            # The graphs of this call's own base and vocoder, never those that an earlier one left.
            if "onnx" not in plan.forms[: plan.forms.index(form)]:
                _write(exact, "onnx", source, source.base, source.vocoder, stage)
            quantize_voice(exact, folder)
        case "pruned":
            watched = stage("pruning the acoustic model")
            voices = [source.speaker(source.base)]
            base = prune_base(source.base, plan.pruning, folder, plan.tuning, data, watched, voices)
            vocoder = _pruned_vocoder(source, plan, folder, data, stage)
            _write(folder, form, source, base, vocoder, stage)
        case _:
            base = _distilled(source, plan, folder, data, stage)
            _write(folder, form, source, base, source.vocoder, stage)
    return folder


def _pruned_vocoder(
    source: Source, plan: Plan, folder: Path, data: Prepared | None, stage: Stage
) -> NeuralVocoder:
    """The vocoder, pruned if it can be."""
    generator = source.vocoder.generator
    if not isinstance(generator, ConvNeXtVocoder):
        return source.vocoder
    tune: Tune | None = None
    if data is not None and plan.vocoder_steps:
        told = stage("speaking for the pruned vocoder")
        texts = min(_TEXTS, plan.vocoder_steps)
        mels = spoken_mels(source.base, source.speaker(source.base), data, texts, told)
        told = stage("training the pruned vocoder")
        tune = tune_by_original(generator, mels, plan.vocoder_steps, told)
    return prune_vocoder(source.vocoder, plan.pruning.ratio, folder / "vocoder.safetensors", tune)


def _distilled(source: Source, plan: Plan, folder: Path, data: Prepared | None, stage: Stage) -> BaseModel:
    if data is None:
        raise RecipeError("a distilled model is trained from nothing: give it steps (--steps)")
    changes = dict(plan.student) or smaller_model(source.base.recipe)
    watched = stage("distilling the acoustic model")
    voices = [source.speaker(source.base)]
    return distil(source.base, changes, data, plan.tuning, folder, progress=watched, voices=voices)


def _write(
    folder: Path, form: str, source: Source, base: BaseModel, vocoder: NeuralVocoder, stage: Stage
) -> None:
    told = stage(f"writing {form}")
    told(0, 1)
    write_voice(
        folder,
        base.model.model.acoustic,
        vocoder.generator,
        source.speaker(base),
        form=form,
        base=base.hash,
        vocoder=vocoder.kind,
    )
    told(1, 1)


def _judge_folder(form: str, folder: Path, original: Spoken, said: Any, stage: Stage) -> Figures:
    voice = OnnxVoice(folder, threads=THREADS)
    spoken = speak_all(exported_synthesis(voice), said, stage(f"speaking as {form}"))
    return judge(form, exported_size(voice), spoken, original, said)
