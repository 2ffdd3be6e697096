"""Pooled training: one optimizer over everybody's recordings, for as many steps as a federation's cohorts take."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Sends, Utterances, adam_always

CENTRALISED = Algorithm(
    description="the data is pooled (upper bound)",
    outer=Phase(
        moves=Moves.BOTH,
        material=Utterances.ALL,
        steps=lambda recipe: recipe.federation.cohort * recipe.client.outer_steps,
        optimizer=adam_always,
    ),
    sends=Sends.RECORDINGS,
)
