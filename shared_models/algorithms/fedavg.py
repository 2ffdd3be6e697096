"""Federated averaging: local steps on the shared set alone. McMahan 2017 (arXiv 1602.05629, algorithm 1)."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances

FEDAVG = Algorithm(
    description="shared set only",
    outer=Phase(
        moves=Moves.SHARED, material=Utterances.QUERY, steps=lambda recipe: recipe.client.outer_steps
    ),
)
