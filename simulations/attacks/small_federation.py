"""The recipe of attacks on the accounting: the model is small, on which no cost depends, and an answer quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared_models.config import Recipe
from shared_models.utterance import Utterance
from simulations.preparation import prepare

COHORT = 50
_SMALL: dict[str, Any] = {
    "name": "attack", "seed": 7, "corpus.path": "embedded", "corpus.speakers": 2, "corpus.test_speakers": 1,
    "corpus.utterances": 8, "model.hidden": 16, "model.encoder_layers": 1, "model.decoder_layers": 1,
    "model.heads": 1, "model.filter": 32, "federation.algorithm": "fedrep", "federation.sampling": "poisson",
    "federation.cohort": COHORT, "federation.rounds": 10, "federation.server_optimizer": "fedavg",
    "federation.server_lr": 1.0, "client.inner_steps": 1, "client.outer_steps": 1, "client.batch_size": 4,
    "client.window_frames": 64, "privacy.mode": "central", "privacy.noise_multiplier": 1.0,
    "privacy.clipping_norm": 0.5, "engine.workers": 1,
}  # fmt: skip


def small_federation(cache: Path | None = None, **changes: Any) -> tuple[Recipe, list[Utterance], Path]:
    """The recipe, one speaker's recordings, and where their features are; ``a__b`` stands for ``a.b``."""
    asked = {name.replace("__", "."): value for name, value in changes.items()}
    data = prepare(Recipe().override(_SMALL | asked), cache)
    # A corpus of two speakers stands for a device of a larger federation, and is no bound on its cohort.
    recipe = data.recipe.override({"federation.cohort": COHORT})
    return recipe, next(iter(data.train.values())), data.cache
