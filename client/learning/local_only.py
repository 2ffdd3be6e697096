"""A device that trains alone: the whole model on one speaker's few utterances, from its initial weights.

The distance to this is what federation gains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from client.cloning import voice_of
from client.learning.phases import take_phase
from shared_models.accelerator import seeded
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.local import LOCAL
from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.seeds import derive_seed, generator
from shared_models.speakers.voice import Voice


def train_alone(
    model: VoicePartition,
    utterances: Sequence[Features],
    recipe: Recipe,
    on_step: Callable[[int, int], None] | None = None,
) -> Voice:
    """Train everything, shared and personal, for ``recipe.cloning.local_steps`` steps; the voice that results."""
    model.reset_personal()
    model.model.train()
    rng = generator(recipe.seed, "local only")
    with seeded(derive_seed(recipe.seed, "local only dropout"), model.device):
        take_phase(LOCAL.outer, model, utterances, recipe, rng, on_step=on_step)
    return voice_of(model, utterances)
