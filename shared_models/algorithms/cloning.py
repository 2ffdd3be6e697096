"""Cloning: the inner phase of FedRep alone, on all that a newcomer brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared_models.algorithms.algorithm import Moves, Phase, Utterances, adam_always

if TYPE_CHECKING:
    from shared_models.config import Recipe


def cloning_rate(recipe: Recipe, _: int = 0) -> float:
    """Adam's learning rate on a clone, which may be another where DP-SGD protects it."""
    private = recipe.cloning.private_lr if recipe.personal_privacy.enabled else None
    return recipe.cloning.lr if private is None else private


CLONING = Phase(
    moves=Moves.PERSONAL,
    material=Utterances.ALL,
    steps=lambda recipe: recipe.cloning.steps,
    personal_rate=cloning_rate,
    optimizer=adam_always,
    falls_from=lambda recipe: recipe.cloning.decay_from,
    private=True,
)
