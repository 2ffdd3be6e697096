"""Bugs in what a server releases of too few, of nothing, or twice, and in what it says of it."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_ROUNDS = "server/rounds.py"
_FLOOR = "server/cohort_floor.py"
_FRUITLESS = "server/fruitless.py"
_OF_FLOOR = "server/test_cohort_floor.py::"
_OF_FRUITLESS = "server/test_fruitless.py::"
_OF_MEMORY = "server/test_release_memory.py::"

MUTANTS = (
    mutant(
        "floor not waited for",
        "nothing is released from too few",
        Edit(_FLOOR, "if plan.private and not plan.seeded_noise else 0", "if False else 0"),
        _OF_FLOOR + "test_one_device_alone_gets_no_round_and_spends_nothing",
    ),
    mutant(
        "floor counts who is online",
        "the floor is on those who can be expected to be drawn",
        Edit(_FLOOR, "_drawn_needed(plan) / sampling_rate(plan) - _ROUNDING", "_drawn_needed(plan)"),
        _OF_FLOOR + "test_quorum_and_floor_count_devices_that_can_be_expected_to_be_drawn",
    ),
    mutant(
        "too small a population begun with",
        "a federation that can never have its cohort is refused",
        Edit(_FLOOR, "if _floor(plan) > drawn + _ROUNDING:", "if False:"),
        _OF_FLOOR + "test_a_population_that_is_too_small_is_refused_before_anything[changes0]",
    ),
    mutant(
        "rounds of noise never end",
        "a run whose rounds bring nothing stops and says why",
        Edit(_FRUITLESS, "if report.fruitless < plan.recipe.federation.patience:", "if True:"),
        _OF_FRUITLESS + "test_rounds_of_pure_noise_end_the_run_after_three",
    ),
    mutant(
        "who answered ends a private run",
        "whether a private run goes on does not tell who answered",
        Edit(
            _FRUITLESS,
            "    if signal is None:\n        return counted == 0\n",
            "    if signal is None or counted == 0:\n        return counted == 0\n",
        ),
        _OF_FRUITLESS + "test_under_privacy_who_answered_makes_no_difference",
    ),
    mutant(
        "non-finite weights checkpointed",
        "no checkpoint holds weights that are not finite",
        Edit(_ROUNDS, "if math.isfinite(squared_norm(weights)):", "if True:"),
        _OF_FRUITLESS + "test_weights_that_are_not_finite_are_never_kept[True]",
    ),
    mutant(
        "shrinking asked for and not done",
        "a noisy mean is shrunk where the recipe says so",
        Edit(_ROUNDS, "if signal is None or not plan.recipe.privacy.shrinkage else", "if True else"),
        _OF_FRUITLESS + "test_shrinking_is_what_the_recipe_says_and_of_the_released_mean",
    ),
    mutant(
        "older server copy goes on",
        "a server that was put back from an older copy releases nothing a second time",
        Edit(
            "server/federation_state.py",
            "state.lost += plan.memory.lost(state.round + state.lost, plan.charged_until)",
            "state.lost += 0",
        ),
        _OF_MEMORY + "test_an_older_copy_is_refused_and_releases_nothing",
    ),
    mutant(
        "lost rounds not charged after an older copy",
        "rounds that an older copy forgot are counted as spent",
        Edit("server/release_memory.py", "return max(0, released - known)", "return 0"),
        _OF_MEMORY + "test_the_operator_may_go_on_and_the_lost_rounds_are_charged",
    ),
    mutant(
        "releases not remembered outside",
        "a release is remembered outside of the home before anybody sees it",
        Edit(
            _ROUNDS,
            "            _stored(federation, report.round, partial(plan.memory.move, report.round))\n",
            "            pass\n",
        ),
        _OF_MEMORY + "test_an_older_copy_is_refused_and_releases_nothing",
    ),
    mutant(
        "devices that call the server an older copy not heard",
        "a server whose devices say that it was put back stops",
        Edit(_FRUITLESS, "if witnesses >= _LEAST_WITNESSES and ", "if False and "),
        _OF_FRUITLESS + "test_devices_that_say_the_server_is_an_old_copy_end_the_run[private_recipe]",
    ),
    mutant(
        "checkpoint says who took part",
        "a checkpoint that is passed on does not hold who took part",
        Edit(
            "server/checkpoints.py",
            '        "accountant": json.dumps(checkpoint.accountant),\n    }\n',
            '        "accountant": json.dumps(checkpoint.accountant),\n'
            '        "counted": json.dumps(checkpoint.counted),\n    }\n',
        ),
        "server/test_participation.py::test_a_checkpoint_that_is_passed_on_does_not_say_who_took_part",
    ),
    mutant(
        "delta of 1/N accepted",
        "delta is below one over the population",
        Edit(
            "server/accounting.py",
            "if privacy.delta >= 1 / population:",
            "if privacy.delta > 1 / population:",
        ),
        "server/test_accounting.py::test_delta_is_below_one_over_the_population",
    ),
    mutant(
        "delta of 1/N accepted in a recipe",
        "a recipe's delta is below one over its population",
        Edit(
            "shared_models/privacy_config.py",
            "self.delta >= 1 / self.population:",
            "self.delta > 1 / self.population:",
        ),
        "server/test_accounting.py::test_delta_is_below_one_over_the_population",
    ),
    mutant(
        "epsilon rounded to the nearest",
        "an epsilon is shown rounded up",
        Edit("shared_models/shown_epsilon.py", "rounding=ROUND_CEILING", 'rounding="ROUND_HALF_EVEN"'),
        "server/test_accounting.py::test_epsilon_is_shown_rounded_up",
    ),
    mutant(
        "epsilon 0 in mode none",
        "a model without noise is called unprotected, and has no epsilon",
        Edit(
            "server/live/publishing.py",
            "    if accountant is None:\n        return UNPROTECTED\n",
            '    if accountant is None:\n        return "epsilon 0"\n',
        ),
        "server/live/test_publishing.py::test_without_privacy_the_card_says_unprotected_and_no_epsilon",
    ),
    mutant(
        "mode none passes for central",
        "a round without noise is called unprotected",
        Edit("server/plan.py", 'return "central" if self.private else UNPROTECTED', 'return "central"'),
        "server/test_live_rounds.py::test_what_is_public_names_nobody[False]",
    ),
)
