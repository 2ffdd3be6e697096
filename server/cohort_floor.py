"""How many devices a round needs before anybody is drawn for it.

A round in which few people can be expected to take part costs each of them as much privacy as any other, and its
mean is mostly noise. So a round waits until the sampling rate times the number of devices *online* reaches both
the quorum and, in mode central, ``federation.minimum_cohort``. Both count devices that can be expected to be drawn.

The decision is made before the cohort is drawn, from a fact that does not depend on it: who is online. To skip a round
because the cohort that was drawn is too small would be a release of its own: whether the round took place would then
tell whether a person was drawn. With rate ``p`` and ``N'`` the size of the cohort without that
person, the two worlds, with and without the person, differ in whether the round takes place with probability
``p * P(N' = floor - 1)``, and that much would have to be added to delta, each round, unpaid. For 50 people, p = 0.1 and
a floor of 4 that is 0.02, where delta is 1e-5. Drawing again until the cohort is large enough is worse: the rate that
amplification by sampling assumes is then not the rate of the draw.
"""

from __future__ import annotations

import math

from server.plan import FederationPlan
from shared_models.errors import RecipeError

_ROUNDING = 1e-9


def sampling_rate(plan: FederationPlan) -> float:
    """The probability with which each of the population is drawn for a round."""
    federation = plan.recipe.federation
    return min(1.0, federation.cohort * federation.over_sampling / plan.clients)


def devices_needed(plan: FederationPlan) -> int:
    """How many of the population must be online for a round to begin; 0 in a simulation."""
    return math.ceil(_drawn_needed(plan) / sampling_rate(plan) - _ROUNDING) if plan.live else 0


def check_cohort(plan: FederationPlan) -> None:
    """Raise :class:`RecipeError` where the expected cohort of the whole population is too small ever to begin."""
    federation = plan.recipe.federation
    drawn = sampling_rate(plan) * plan.clients
    if plan.live and federation.quorum > drawn + _ROUNDING:
        raise RecipeError(
            f"federation.quorum is {federation.quorum} and of the population of {plan.clients} {drawn:.6g} are drawn a "
            "round: the first round would never start, so lower the quorum"
        )
    if _floor(plan) > drawn + _ROUNDING:
        raise RecipeError(
            f"{drawn:.6g} people are expected a round and federation.minimum_cohort is {federation.minimum_cohort}: "
            "raise federation.cohort and the population, since from so few nothing is released"
        )


def _drawn_needed(plan: FederationPlan) -> int:
    return max(plan.recipe.federation.quorum, _floor(plan))


def _floor(plan: FederationPlan) -> int:
    """0 where nothing is released of real people: a simulation has its noise from a seed."""
    return plan.recipe.federation.minimum_cohort if plan.private and not plan.seeded_noise else 0
