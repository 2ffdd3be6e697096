"""Reptile: the shared set moves towards where plain training on one speaker ends.

A client's update is the whole way of its k steps. ``federation.server_lr`` is the share of the mean way that the server
goes, with ``server_optimizer = "fedavg"``.

Source: Nichol 2018 (arXiv 1803.02999, algorithm 2).
"""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances, sgd_always
from shared_models.algorithms.learning_rates import inner_rate

REPTILE = Algorithm(
    description="the shared set moves towards where plain steps on a speaker end",
    outer=Phase(
        moves=Moves.BOTH,
        material=Utterances.ALL,
        steps=lambda recipe: recipe.client.inner_steps,
        shared_rate=inner_rate,
        optimizer=sgd_always,
    ),
    newcomers=True,
)
