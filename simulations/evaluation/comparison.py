"""The table: every arm's clones of every unseen speaker, with intervals over speakers and anchors.

Speakers are worked on in parallel, and each one's figures are stored as soon as they are known, so that an
interrupted evaluation goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from client.learning.cached_features import CachedFeatures
from shared_models.accelerator import accelerator_of, repeat_on
from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.similarity import similarity
from shared_models.base_model import load_base
from shared_models.config import Recipe
from shared_models.file_names import file_name_of
from shared_models.files import write_atomically
from shared_models.judges import NOBODY, Judges
from shared_models.partition import PartitionedModel
from shared_models.utterance import Utterance
from shared_models.vocoders import build_vocoder
from simulations.evaluation import unseen_speakers as unseen
from simulations.evaluation.bootstrap import bootstrap_mean
from simulations.preparation import Prepared

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One piece of work: judge ``arm``'s clone of ``speaker``."""

    arm: str
    recipe: Recipe
    checkpoints: Path | None
    """Where the arm's shared weights are; None for the recipe's random ones."""
    speaker: str
    support: tuple[Utterance, ...]
    query: tuple[Utterance, ...]
    cache: Path
    folder: Path
    """Where figures and audio go."""


def unseen_material(
    recipe: Recipe, data: Prepared
) -> dict[str, tuple[tuple[Utterance, ...], tuple[Utterance, ...]]]:
    """Support and query of every unseen speaker that is judged."""
    chosen = list(data.test.items())[: recipe.evaluation.speakers]
    material = {}
    for speaker, utterances in chosen:
        support = [u for u in utterances if u.role == "support"] or list(utterances[: recipe.cloning.support])
        support = support[: recipe.cloning.support]
        query = [u for u in utterances if u not in support][: recipe.evaluation.queries]
        material[speaker] = (tuple(support), tuple(query))
    return material


def compare_arms(
    arms: Mapping[str, tuple[Recipe, Path | None, Path]],
    data: Prepared,
    anchors: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Judge ``arms``, and the anchors: the ``arms`` and ``anchors`` of a results file.

    ``arms`` has, by name, the recipe, the folder of the weights (None for random ones), and the folder where
    figures and audio go.
    """
    recipe = data.recipe
    material = unseen_material(recipe, data)
    done, total = 0, len(material) * (len(arms) + 1)

    def advance(count: int) -> None:
        if progress is not None:
            progress(count, total)

    workers = recipe.engine.workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        real_work = [
            Judgement("real", recipe, None, s, *parts, data.cache, anchors) for s, parts in material.items()
        ]
        real = {}
        for figures in pool.map(judge_real, real_work):
            real[figures["speaker"]] = figures
            advance(done := done + 1)
        targets = {speaker: figures["voice"] for speaker, figures in real.items()}
        work = [
            Judgement(arm, arm_recipe, weights, s, *parts, data.cache, folder)
            for arm, (arm_recipe, weights, folder) in arms.items()
            for s, parts in material.items()
        ]
        judged: dict[str, list[Figures]] = {arm: [] for arm in arms}
        for item, figures in zip(work, pool.map(judge_clone, work, [targets] * len(work)), strict=True):
            judged[item.arm].append(figures)
            advance(done := done + 1)
    return {
        "arms": {
            arm: {"metrics": summarise(speakers), "speakers": speakers} for arm, speakers in judged.items()
        },
        "anchors": _anchors(list(real.values()), targets),
    }


def judge_real(work: Judgement) -> Figures:
    """The anchors of one speaker: the recordings themselves, and their copies through the vocoder."""
    stored = _stored(work)
    if stored is not None:
        return stored
    real = unseen.real_clips(work.query, work.recipe, work.cache)
    voice = unseen.voice_of(real)
    targets = {work.speaker: voice}
    support = unseen.real_clips(work.support, work.recipe, work.cache)
    figures: Figures = {"speaker": work.speaker, "voice": voice.tolist()}
    figures["real"] = unseen.measure(real, real, targets, work.speaker, work.recipe)
    device = accelerator_of(work.recipe.engine).device
    copies = unseen.copies(real, build_vocoder(work.recipe.evaluation.vocoder, device))
    figures["copy"] = unseen.measure(copies, real, targets, work.speaker, work.recipe)
    # Against themselves the recordings would be too good a match: it is the support that is compared.
    own = [similarity(e, voice) for e in unseen.embeddings(support) if e is not None]
    figures["real"]["similarity"] = float(np.mean(own))
    return _store(work, figures)


def judge_clone(work: Judgement, targets: Mapping[str, Sequence[float]]) -> Figures:
    """One arm's clone of one speaker: figures by way of speaking, and the names of its audio files."""
    stored = _stored(work)
    if stored is not None:
        return stored
    recipe = work.recipe
    support = list(CachedFeatures(work.support, work.cache, recipe.features))
    query = CachedFeatures(work.query, work.cache, recipe.features)
    texts = [(u.text, features.phonemes) for u, features in zip(work.query, query, strict=True)]
    model, judges = _load(work)
    clips = unseen.clone_and_speak(model, recipe, support, texts, work.speaker, judges)
    real = unseen.real_clips(work.query, recipe, work.cache)
    voices = {name: np.asarray(voice, dtype=np.float32) for name, voice in targets.items()}
    figures: Figures = {"speaker": work.speaker}
    for way, spoken in clips.items():
        for name, value in unseen.measure(spoken, real, voices, work.speaker, recipe).items():
            figures[f"{name}_{way}"] = value
    audio = unseen.save_clips({"real": real, **clips}, work.folder / "audio", work.speaker)
    figures["audio"] = {way: f"audio/{name}" for way, name in audio.items()}
    return _store(work, figures)


def summarise(speakers: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Mean and 95 % interval over speakers of every figure that all of them have."""
    names = [name for name, value in speakers[0].items() if isinstance(value, float)] if speakers else []
    found = {}
    for name in names:
        estimate = asdict(bootstrap_mean([s[name] for s in speakers]))
        found[name] = {"mean": estimate["mean"], "low": estimate["low"], "high": estimate["high"],
                       "n": estimate["count"]}  # fmt: skip
    return found


def _anchors(real: Sequence[Figures], targets: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    vectors = np.asarray(list(targets.values()))
    across = vectors @ vectors.T
    different = [float(np.delete(row, i).mean()) for i, row in enumerate(across)] if len(vectors) > 1 else []
    return {
        "real": summarise([figures["real"] for figures in real]),
        "copy_synthesis": summarise([figures["copy"] for figures in real]),
        "different_speaker_real": summarise([{"similarity": value} for value in different]),
    }


def _load(work: Judgement) -> tuple[VoicePartition, Judges]:
    """The model for clones, and what judges them."""
    device = accelerator_of(work.recipe.engine).device
    repeat_on(device)
    if work.checkpoints is None:
        return PartitionedModel(build_model(work.recipe.for_cloning()).to(device)), NOBODY
    base = load_base(work.checkpoints).to(device)
    if (chosen := work.recipe.for_cloning()) is not work.recipe:
        base = base.adapted(chosen.speaker.adaptation)
    return base.model, base.judges


def _stored(work: Judgement) -> Figures | None:
    path = work.folder / "evaluation" / f"{file_name_of(work.speaker)}.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def _store(work: Judgement, figures: Figures) -> Figures:
    path = work.folder / "evaluation" / f"{file_name_of(work.speaker)}.json"
    write_atomically(path, json.dumps(figures))
    return figures


def _one_thread() -> None:
    torch.set_num_threads(1)
