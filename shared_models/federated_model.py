"""The model that a federation trains, partitioned as its algorithm asks: what both sides build from a recipe."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.config import Recipe
from shared_models.partition import Partition, PartitionedModel
from shared_models.vocoders.adversarial_model import AdversarialVocoder

_DESCRIBES_A_MODEL = {"trains", "model", "speaker", "aligner", "vocoder", "seed", "federation"}

M = TypeVar("M", bound=nn.Module)


def federated_model(recipe: Recipe, device: torch.device | None = None) -> PartitionedModel[Any]:
    """The voice model, or the vocoder with its discriminators, as ``recipe.trains`` says, with random weights.

    Moved to ``device``, if one is given. Raises :class:`RecipeError`.
    """
    if recipe.trains == "vocoder":
        return _partitioned(AdversarialVocoder(recipe), recipe, device)
    return federated_voice_model(recipe, device)


def federated_voice_model(recipe: Recipe, device: torch.device | None = None) -> VoicePartition:
    """The voice model alone; under an algorithm that shares everything its personal set counts as shared too."""
    return _partitioned(build_model(recipe), recipe, device)


def model_key(recipe: Recipe) -> str:
    """What of a recipe :func:`federated_model` depends on, as a recipe in JSON: equal keys build equal models."""
    return recipe.model_dump_json(include=_DESCRIBES_A_MODEL)


def _partitioned(model: M, recipe: Recipe, device: torch.device | None) -> PartitionedModel[M]:
    if device is not None:
        model = model.to(device)
    everything = recipe.algorithm.shares_everything
    return PartitionedModel(model, Partition.of(model, share_everything=everything))
