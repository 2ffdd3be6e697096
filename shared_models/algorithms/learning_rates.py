"""The learning rates that phases choose among, by recipe and round (from 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared_models.config import Recipe


def inner_rate(recipe: Recipe, _: int) -> float:
    """``client.inner_lr`` in every round."""
    return recipe.client.inner_lr


def outer_rate(recipe: Recipe, _: int) -> float:
    """``client.outer_lr`` in every round."""
    return recipe.client.outer_lr


def falling_outer_rate(recipe: Recipe, round_number: int) -> float:
    """``client.outer_lr``: rising at first (``client.warmup_rounds``), then constant, and falling to a twentieth in the
    end (``client.decay_from``)."""
    config, rounds = recipe.client, recipe.federation.rounds
    first = config.decay_from * rounds
    if round_number < config.warmup_rounds:
        return config.outer_lr * round_number / config.warmup_rounds
    if round_number <= first:
        return config.outer_lr
    left = (rounds - round_number) / (rounds - first)
    return config.outer_lr * max(0.05, left)
