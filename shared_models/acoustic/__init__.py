"""The acoustic model, FastSpeech 2, and the whole of it with what makes a voice."""

from __future__ import annotations

import torch

from shared_models.acoustic.dimensions import dimensions
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import Recipe


def build_model(recipe: Recipe, voices: int = 1, seed: int | None = None) -> VoiceModel:
    """The model that a recipe describes, with ``voices`` rows of personal parameters.

    The weights depend on the recipe and ``seed`` (the recipe's own if None) alone, not on ``voices`` nor on
    torch's global generator, which is left as it was. Raises :class:`RecipeError`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed if seed is None else seed)
        return VoiceModel(dimensions(recipe.model), recipe.speaker, recipe.aligner, voices)
