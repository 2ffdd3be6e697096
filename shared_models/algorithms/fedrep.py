"""The personal set adapts first, then the shared set moves with it fixed. Collins 2021 (arXiv 2102.07078, Alg. 1).

Support and query are apart as in Meta-TTS, Huang 2022 (arXiv 2111.04040): the shared set learns from utterances that
the voice was not adapted to.
"""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances, adam_always

FEDREP = Algorithm(
    description="personal on the support, then shared on the query",
    inner=Phase(
        moves=Moves.PERSONAL,
        material=Utterances.SUPPORT,
        steps=lambda recipe: recipe.client.inner_steps,
        optimizer=adam_always,
        private=True,
    ),
    outer=Phase(
        moves=Moves.SHARED, material=Utterances.QUERY, steps=lambda recipe: recipe.client.outer_steps
    ),
)
