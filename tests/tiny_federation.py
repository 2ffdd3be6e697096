"""The smallest recipe that still does everything, and random speech for it."""

from __future__ import annotations

import atexit
import csv
import os
import shutil
import tempfile
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from client.task import Task
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.config import Recipe
from shared_models.features import Batch, Features
from shared_models.federated_model import federated_voice_model
from shared_models.speakers.heard import Signal
from shared_models.text.symbols import VOCABULARY_SIZE
from simulations.corpora import embedded

FEATURES_VARIABLE = "FEDVOICE_FEATURES_OF_TESTS"
"""Names the folder of features to the processes that the tests are spread over."""
TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 7,
    "corpus.speakers": 4,
    "corpus.test_speakers": 2,
    "corpus.utterances": 7,
    "model.hidden": 16,
    "model.encoder_layers": 1,
    "model.decoder_layers": 1,
    "model.heads": 1,
    "model.filter": 32,
    "federation.rounds": 3,
    "federation.cohort": 3,
    "client.inner_steps": 1,
    "client.outer_steps": 2,
    "client.window_frames": 64,
    "client.batch_size": 2,
    "cloning.steps": 2,
    "cloning.local_steps": 2,
    "evaluation.metrics": ["mcd"],
    "evaluation.queries": 1,
    "evaluation.validation": 2,
    "engine.workers": 2,
}


def tiny_recipe(**changes: Any) -> Recipe:
    """:data:`TINY` with changes; a double underscore in a name stands for the dot."""
    return Recipe().override(TINY | {name.replace("__", "."): value for name, value in changes.items()})


def tiny_overrides(**changes: Any) -> list[str]:
    """The same as arguments of the command line."""
    chosen = TINY | {name.replace("__", "."): value for name, value in changes.items()}
    return [argument for path, value in chosen.items() for argument in ("--set", f"{path}={_toml(value)}")]


def tiny_model(recipe: Recipe) -> VoicePartition:
    """A device's model under the recipe."""
    return federated_voice_model(recipe)


def task_of(
    recipe: Recipe, round_number: int = 1, member: int = 0, run: str = "run", *, live: bool = False
) -> Task:
    """A client's task, in a simulation unless it is ``live``."""
    return Task(recipe, run, round_number, member, not live)


def random_speech(count: int, seed: int = 0, *, aligned: bool = True) -> list[Features]:
    """Noise in the shape and range of speech, half a second to a second an utterance."""
    return [_utterance(seed * 1000 + number, aligned) for number in range(count)]


def in_float64(batch: Batch) -> Batch:
    """The batch in float64, for comparisons that no processor's rounding may decide."""
    found = {f.name: getattr(batch, f.name) for f in fields(batch)}
    real = {name: v.double() for name, v in found.items() if isinstance(v, Tensor) and v.is_floating_point()}
    signals = {n: Signal(s.values.double(), s.lengths) for n, s in batch.heard.signals.items()}
    return replace(batch, heard=replace(batch.heard, signals=signals), **real)


@torch.no_grad()
def shaken(model: VoicePartition, amount: float = 0.1) -> VoicePartition:
    """The model with every parameter moved, so that nothing hides behind a zero."""
    rng = torch.Generator().manual_seed(99)
    for parameter in model.model.parameters():
        parameter += amount * torch.randn(parameter.shape, generator=rng)
    return model


def personal_copy(model: VoicePartition) -> dict[str, Tensor]:
    """The personal parameters as they are now."""
    return {name: tensor.clone() for name, tensor in model.personal_state().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal bit by bit."""
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@lru_cache(maxsize=1)
def features_of_tests() -> Path:
    """The session's feature cache: ``$FEDVOICE_CACHE``, or a folder that goes when the session ends.

    Where several processes share the tests they share it too.
    """
    chosen = os.environ.get("FEDVOICE_CACHE") or os.environ.get(FEATURES_VARIABLE)
    if chosen:
        return Path(chosen)
    folder = tempfile.mkdtemp(prefix="fedvoice-test-features-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def small_corpus(folder: Path, *, train: int, test: int = 0, utterances: int = 7) -> Path:
    """A folder of a few embedded voices, for tests that damage it: ``metadata.csv`` and a folder a speaker."""
    with (embedded.ROOT / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    chosen: list[dict[str, str]] = []
    for split, count in (("train", train), ("test", test)):
        speakers = sorted({row["speaker_id"] for row in rows if row["split"] == split})[:count]
        for speaker in speakers:
            chosen += [row for row in rows if row["speaker_id"] == speaker][:utterances]
    for row in chosen:
        for name in (row["path"], row["alignment"]):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(embedded.ROOT / name, folder / name)
    write_table(folder, chosen)
    return folder


def read_table(folder: Path) -> list[dict[str, str]]:
    """The rows of a corpus folder's table."""
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write a corpus folder's table anew."""
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _utterance(seed: int, aligned: bool) -> Features:
    rng = torch.Generator().manual_seed(seed)
    phonemes, frames = 6 + seed % 5, 48 + seed % 31
    cuts = torch.randperm(frames - 1, generator=rng)[: phonemes - 1].sort().values + 1
    edges = torch.cat([torch.tensor([0]), cuts, torch.tensor([frames])])
    return Features(
        utterance_id=f"u{seed}",
        phonemes=torch.randint(3, VOCABULARY_SIZE, (phonemes,), generator=rng),
        mel=torch.randn(frames, 80, generator=rng) * 2 - 5.5,
        log_f0=torch.randn(frames, generator=rng) * 0.2 + 5.0,
        voiced=torch.rand(frames, generator=rng) > 0.4,
        energy=torch.randn(frames, generator=rng) + 2.0,
        durations=edges.diff() if aligned else None,
    )


def _toml(value: Any) -> str:
    return str(value).replace("'", '"')
