"""The speaker encoders side by side: trained alike on the matrix's train speakers, and tried on unseen ones.

Each kind has the loss that it was published with: GE2E for the d-vector (Wan 2018), softmax for the x-vector (Snyder
2018), the additive angular margin for ECAPA-TDNN (Desplanques 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.learning.cached_features import CachedFeatures
from shared_models.config import Recipe
from shared_models.speakers.encoders.encoder_file import load_encoder
from simulations.evaluation.verification import Trials, trials_of_each
from simulations.matrix.recipes import Common, Entry
from simulations.preparation import prepare
from simulations.run_folder import RunFolder
from simulations.simulate import Progress
from simulations.speaker_identification import embeddings_of, train_encoder, with_signal

PUBLISHED: dict[str, dict[str, Any]] = {
    "ecapa": {"loss": "aam"},
    "x_vector": {"loss": "softmax"},
    "d_vector": {"loss": "ge2e"},
}
"""Kinds in the order of the literature's error rates, the lowest first, and what is published of their training."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One encoder's trials."""

    kind: str
    steps: int
    trials: dict[str, Trials]
    """By unseen speaker."""


def try_encoder(
    kind: str, steps: int, common: Common, output: Path, cache: Path, progress: Progress
) -> Tried:
    """Train the encoder, or go on where it was, and try it. Raises as :func:`train_encoder` does."""
    recipe = _recipe(kind, steps, common)
    data = prepare(recipe, cache, progress.stage(f"{kind}: features"))
    run = RunFolder(output / "encoders" / f"{kind}-{Entry(kind, recipe).digest}")
    if not run.recipe_path.is_file():
        RunFolder.create(run.path, recipe)
    weights = run.path / "encoder.safetensors"
    if not weights.is_file():
        train_encoder(run, recipe, data, on_step=progress.stage(f"{kind}: speaker encoder"))
    encoder = load_encoder(weights, kind)
    signal = recipe.features.signals[0]
    speakers = {name: CachedFeatures(own, data.cache, recipe.features) for name, own in data.test.items()}
    heard = embeddings_of(encoder, speakers, signal, recipe.encoder.trial_utterances)
    return Tried(kind, steps, trials_of_each(heard))


def _recipe(kind: str, steps: int, common: Common) -> Recipe:
    return with_signal(
        Recipe().override(
            {
                "name": kind, "encoder.kind": kind, "encoder.steps": steps,
                "encoder.checkpoint_every": max(1, steps // 4), "encoder.validate_every": steps,
                "corpus.path": common.corpus, "corpus.speakers": common.train_speakers,
                "corpus.utterances": common.utterances, "cloning.support": 1,
                "engine": {"workers": common.workers, "device": common.device},
                **{f"encoder.{field}": value for field, value in PUBLISHED[kind].items()},
            }
        )
    )  # fmt: skip
