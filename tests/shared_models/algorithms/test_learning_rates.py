"""Learning rates over the rounds."""

from __future__ import annotations

import itertools

from tiny_federation import tiny_recipe

from shared_models.algorithms.learning_rates import falling_outer_rate, inner_rate, outer_rate


def test_the_learning_rate_is_constant_at_first_and_falls_at_the_end() -> None:
    recipe = tiny_recipe(federation__rounds=20, client__outer_lr=0.5, client__decay_from=0.5)
    rates = [falling_outer_rate(recipe, number) for number in range(1, 21)]
    assert rates[:10] == [0.5] * 10
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.1 * rates[0]


def test_the_learning_rate_rises_over_the_first_rounds_if_the_recipe_says_so() -> None:
    recipe = tiny_recipe(federation__rounds=20, client__outer_lr=0.5, client__warmup_rounds=4)
    rates = [falling_outer_rate(recipe, number) for number in range(1, 7)]
    assert rates == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]


def test_the_others_are_the_recipes_in_every_round() -> None:
    recipe = tiny_recipe(federation__rounds=20, client__outer_lr=0.5, client__inner_lr=0.25)
    assert {outer_rate(recipe, number) for number in range(21)} == {0.5}
    assert {inner_rate(recipe, number) for number in range(21)} == {0.25}
