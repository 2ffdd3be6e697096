"""Model-agnostic meta-learning: the shared set learns where adaptation to one speaker had better begin.

The inner loop is plain gradient descent on a few of a speaker's utterances. The outer loop goes down the loss on others
of them, at the adapted weights. MAML differentiates through the inner loop (Finn 2017, arXiv 1703.03400, algorithm 1);
FOMAML takes the inner gradients as constants (section 5.2). ANIL adapts the head alone (Raghu 2020, arXiv 1909.09157,
section 4), which is the projection to the mel here.

Federated, the outer gradient is a client's update (Chen 2018, arXiv 1802.07876, algorithm 1).
"""

from __future__ import annotations

from dataclasses import replace

from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances
from shared_models.algorithms.learning_rates import inner_rate

ADAPTATION = Phase(
    moves=Moves.BOTH,
    layers=("phonemes", "encoder", "variance", "decoder", "mel", "source", "postnet"),
    material=Utterances.SUPPORT,
    steps=lambda recipe: recipe.client.inner_steps,
    shared_rate=inner_rate,
    same_batch=True,
)
MAML = Algorithm(
    description="every layer adapts on the support, and the shared set learns where that begins (second order)",
    inner=ADAPTATION,
    outer=Phase(
        moves=Moves.SHARED, material=Utterances.QUERY, steps=lambda recipe: recipe.client.outer_steps
    ),
    order=2,
    newcomers=True,
)
FOMAML = replace(MAML, description="the same with the inner gradients as constants (first order)", order=1)
ANIL = replace(
    MAML,
    description="MAML of the projection to the mel alone",
    inner=replace(ADAPTATION, moves=Moves.SHARED, layers=("mel",)),
)
