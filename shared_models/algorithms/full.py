"""Full-model sharing: the partition calls every parameter shared, and all of them move and are sent."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Sends, Utterances

FULL = Algorithm(
    description="everything is sent (non-private baseline)",
    outer=Phase(
        moves=Moves.SHARED, material=Utterances.QUERY, steps=lambda recipe: recipe.client.outer_steps
    ),
    sends=Sends.EVERYTHING,
)
