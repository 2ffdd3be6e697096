"""Every device trains the whole model alone: what federation is worth is the distance to this."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Sends, Utterances, adam_always
from shared_models.algorithms.learning_rates import outer_rate

LOCAL = Algorithm(
    description="nothing is sent",
    outer=Phase(
        moves=Moves.BOTH,
        material=Utterances.ALL,
        steps=lambda recipe: recipe.cloning.local_steps,
        shared_rate=outer_rate,
        optimizer=adam_always,
    ),
    sends=Sends.NOTHING,
)
