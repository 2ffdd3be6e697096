"""Losses for the curves of a report: on unseen speakers, and from the devices' own training logs.

A live server sees neither. In a simulation the researcher owns the devices, so reading their logs is no
release; the federation itself sends updates and nothing else.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from client.learning.cached_features import CachedFeatures
from shared_models.config import Recipe
from shared_models.features import Features, collate
from shared_models.federated_model import federated_voice_model
from shared_models.losses import acoustic_loss
from simulations.preparation import Prepared

_LONGEST_ENTRY = 1 << 17  # bytes: thousands of steps in a round


class Validation:
    """The zero-shot loss on a fixed choice of unseen speakers' utterances."""

    def __init__(self, recipe: Recipe, data: Prepared) -> None:
        self._recipe = recipe
        self._pairs = _choose(recipe, data)
        self._model = federated_voice_model(recipe)

    @torch.no_grad()
    def loss(self, weights: Tensor) -> float:
        """Mean over utterances of the acoustic loss with ``weights`` ``(D,)`` and no personal parameters."""
        if not self._pairs:
            return math.nan
        self._model.load_shared_vector(weights)
        self._model.model.eval()
        total = 0.0
        for item, reference in self._pairs:
            batch = collate([item], [reference.reference])
            total += float(acoustic_loss(self._model.model(batch), batch, weights=self._recipe.aligner).total)
        return total / len(self._pairs)


def _choose(recipe: Recipe, data: Prepared) -> list[tuple[Features, Features]]:
    """Utterances in turn from all unseen speakers, each with another of the same speaker as reference."""
    speakers = [CachedFeatures(u, data.cache, recipe.features) for u in data.test.values()]
    pairs: list[tuple[Features, Features]] = []
    for place in range(max((len(s) for s in speakers), default=0) - 1):
        for speaker in speakers:
            if len(pairs) == recipe.evaluation.validation:
                return pairs
            if place + 1 < len(speaker):
                pairs.append((speaker[place + 1], speaker[place]))
    return pairs


def training_loss_of_round(devices: Path, run: str, round_number: int) -> float:
    """Mean outer-loop loss of the devices that trained in a round, from their own logs."""
    losses: list[float] = []
    for log in devices.glob("*/training.jsonl"):
        with log.open("rb") as lines:
            lines.seek(max(0, log.stat().st_size - _LONGEST_ENTRY))
            # What follows the last newline is empty, or was torn by a kill.
            whole = lines.read().split(b"\n")[:-1]
        entry: dict[str, Any] = json.loads(whole[-1]) if whole else {}
        if entry.get("round") == round_number and entry["run"] == run:
            losses.extend(entry["outer"])
    return sum(losses) / len(losses) if losses else math.nan
