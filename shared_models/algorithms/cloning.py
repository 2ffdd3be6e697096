"""Cloning: the inner phase of FedRep alone, on all that a newcomer brings."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Moves, Phase, Utterances, adam_always

CLONING = Phase(
    moves=Moves.PERSONAL,
    material=Utterances.ALL,
    steps=lambda recipe: recipe.cloning.steps,
    personal_rate=lambda recipe, _: recipe.cloning.lr,
    optimizer=adam_always,
    private=True,
)
