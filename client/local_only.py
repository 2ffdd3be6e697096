"""A device that trains alone: the whole model on one speaker's few utterances, from its initial weights.

What federation is worth is the distance to this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from client.cloning import voice_of
from client.training import VoicePartition, draw_batch, training_loss
from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.optimization import descend
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
    shared, personal = model.shared_parameters(), model.personal_parameters()
    for parameter in [*shared, *personal]:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(
        [
            {"params": shared, "lr": recipe.client.outer_lr},
            {"params": personal, "lr": recipe.client.inner_lr},
        ],
        betas=(0.9, 0.99),
        fused=True,
    )
    rng = generator(recipe.seed, "local only")
    steps = recipe.cloning.local_steps
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "local only dropout"))
        for step in range(steps):
            loss = training_loss(model.model, draw_batch(utterances, recipe, rng), recipe, rng)
            descend(loss, [*shared, *personal], optimizer, recipe.client.gradient_clip)
            if on_step is not None:
                on_step(step + 1, steps)
    return voice_of(model, utterances)
