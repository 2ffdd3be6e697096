"""What a policy says of a recipe before anything is trained: to an owner who looks, and to an operator who starts."""

from __future__ import annotations

from client.home.policy import Policy
from client.home.spending import claim_of
from shared_models.accounting import epsilon_of
from shared_models.config import Recipe
from shared_models.errors import DeclinedError
from shared_models.shown_epsilon import epsilon_shown


def verdict(recipe: Recipe, population: int | None, policy: Policy) -> str | None:
    """Why ``policy`` declines the rounds of ``recipe``, with field and both values; None if it does not.

    ``population`` is the number of people that the server draws its cohorts from, None if it does not tell.
    """
    if reason := policy.refusal(recipe):
        return reason
    if recipe.privacy.mode != "central":
        return None
    try:
        claim = claim_of(recipe, population)
    except DeclinedError as error:
        return str(error)
    reason = policy.refusal_of_cohort(recipe, population) or policy.refusal_of_noise(claim.noise_multiplier)
    if reason:
        return reason
    cost = epsilon_of([claim.whole_run], policy.delta)
    allowed = min(policy.epsilon_per_run, policy.total_epsilon)
    if cost > allowed:
        return (
            f"policy epsilon_per_run: the recipe's {claim.rounds} rounds come to epsilon {epsilon_shown(cost)} at "
            f"delta {policy.delta:g}, this device allows {allowed:g}"
        )
    return None


def verdict_by_default(recipe: Recipe, population: int) -> str | None:
    """The verdict of a device whose owner changed nothing of the policy."""
    return verdict(recipe, population, Policy())
