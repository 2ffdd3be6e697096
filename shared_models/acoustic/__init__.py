"""The acoustic model, FastSpeech 2, and the whole of it with what makes a voice."""

from __future__ import annotations

import torch

from shared_models.acoustic.dimensions import dimensions
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import Recipe


def build_model(recipe: Recipe, voices: int = 1, seed: int | None = None) -> VoiceModel:
    """The model that a recipe describes, with ``voices`` rows of personal parameters.

    The weights depend on the recipe and ``seed`` (the recipe's own if None) alone, not on ``voices`` nor on
    torch's global generator, which is left as it was; of a model on a frozen base, on that base. Raises
    :class:`RecipeError`, and :class:`CheckpointError` for a frozen base that cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed if seed is None else seed)
        model = VoiceModel(
            dimensions(recipe.model), recipe.speaker, recipe.aligner, voices, recipe.model.style_rank
        )
    if recipe.model.frozen is not None:
        # A base is a model itself, which is built here.
        from shared_models.frozen_base import freeze_on

        freeze_on(model, recipe.model.frozen)
    return model
