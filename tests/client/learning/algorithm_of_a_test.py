"""An algorithm that is not shipped: MAML over the shared set with the voice as what adapts, in one file and one line.

A worker process of an engine that imports its ClientApp from here has it too.
"""

from __future__ import annotations

from client.app import app as app
from shared_models.algorithms import ALGORITHMS
from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances

SECOND_ORDER = Algorithm(
    description="the shared set moves by the second-order gradient of where a voice adapts to",
    inner=Phase(
        moves=Moves.PERSONAL, material=Utterances.SUPPORT, steps=lambda recipe: recipe.client.inner_steps
    ),
    outer=Phase(
        moves=Moves.SHARED, material=Utterances.QUERY, steps=lambda recipe: recipe.client.outer_steps
    ),
    order=2,
)

ALGORITHMS["second_order_of_a_test"] = SECOND_ORDER
