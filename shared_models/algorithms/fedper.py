"""Personal and shared parameters move together, and the shared ones are sent. Arivazhagan 2019 (arXiv 1912.00818)."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances

FEDPER = Algorithm(
    description="personal and shared together",
    outer=Phase(moves=Moves.BOTH, material=Utterances.QUERY, steps=lambda recipe: recipe.client.outer_steps),
)
