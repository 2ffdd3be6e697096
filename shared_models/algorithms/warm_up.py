"""The first rounds of a federation that learns to align (``aligner.warmup_rounds``), whatever its algorithm."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Moves, Phase, Utterances
from shared_models.algorithms.learning_rates import outer_rate

WARM_UP = Phase(
    moves=Moves.SHARED,
    material=Utterances.QUERY,
    steps=lambda recipe: recipe.client.outer_steps,
    shared_rate=outer_rate,
)
