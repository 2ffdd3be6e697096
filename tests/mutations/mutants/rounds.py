"""Bugs in a round as the server runs it: sampling, accounting, what is counted and what is told."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_ROUNDS = "server/rounds.py"
_STATE = "server/federation_state.py"
_VALIDATION = "server/validation.py"
_OF_ROUNDS = "server/test_rounds.py::"
_LIVE = "server/test_live_rounds.py::"
_FAULTS = "server/test_round_faults.py::"
_WRONG = "server/test_validation.py::test_it_is_dropped_by_name_and_the_others_count"

MUTANTS = (
    mutant(
        "messages name the operator's folders",
        "no device is told where the operator keeps corpora and bases",
        Edit(
            "server/round_messages.py",
            "plan.recipe.without_folders().model_dump_json()",
            "plan.recipe.model_dump_json()",
        ),
        "server/test_round_messages.py::test_no_message_names_a_folder_of_the_operators",
    ),
    mutant(
        "a run is dropped for a folder's name",
        "a server that no longer tells its folders goes on with the runs of before",
        Edit("client/rounds/pinned_recipe.py", "if name in PATHS and", "if not PATHS and"),
        "client/rounds/test_pinned_recipe.py::"
        "test_a_server_that_tells_no_folders_any_more_goes_on_with_a_run_of_before",
    ),
    mutant(
        "cohort rate (cohort+1)/N",
        "people are drawn at the rate that the accountant is told",
        Edit(
            "server/cohort_floor.py",
            "federation.cohort * federation.over_sampling / plan.clients",
            "(federation.cohort + 1) * federation.over_sampling / plan.clients",
        ),
        _OF_ROUNDS + "test_people_are_drawn_at_the_rate_that_is_accounted_for",
    ),
    mutant(
        "cohort drawn from those online",
        "who is online changes nobody's chance of being drawn",
        Edit(
            _ROUNDS,
            "draw = partial(_sample, plan, number, failures)",
            "draw = lambda: sample_cohort(sorted(nodes), min(1.0, plan.recipe.federation.cohort / max(1, len(nodes))), "
            'generator(plan.recipe.seed, "cohort", number) if plan.seeded_noise or not plan.private else None, '
            "plan.recipe.federation.sampling)",
        ),
        _LIVE + "test_a_device_alone_online_is_drawn_no_more_often_than_the_accountant_claims",
    ),
    mutant(
        "accountant not stepped",
        "every release is counted",
        Edit(_ROUNDS, "    state.accountant.step()\n", ""),
        _OF_ROUNDS + "test_a_release_is_paid_for_before_it_exists",
    ),
    mutant(
        "accountant stepped after release",
        "a release is paid for before it exists",
        (
            Edit(_ROUNDS, "    state.accountant.step()\n", ""),
            Edit(
                _ROUNDS,
                "    mean = mechanism.release(gathered.total, seeded)\n",
                "    mean = mechanism.release(gathered.total, seeded)\n    state.accountant.step()\n",
            ),
        ),
        _OF_ROUNDS + "test_a_release_is_paid_for_before_it_exists",
    ),
    mutant(
        "accountant reset on resume",
        "a server that starts again remembers what was spent",
        Edit(_STATE, "        accountant.load(checkpoint.accountant)", "        pass"),
        _OF_ROUNDS + "test_a_resumed_run_ends_with_the_same_bits[central-fedavg]",
    ),
    mutant(
        "lost rounds not counted",
        "a release whose checkpoint is lost counts as spent",
        Edit(_STATE, "        accountant.step(state.lost)\n", ""),
        _FAULTS + "test_a_damaged_checkpoint_in_the_middle_costs_its_round[False]",
    ),
    mutant(
        "fixed cohort amplified",
        "nothing is taken off for sampling where cohorts are of fixed size",
        Edit(
            "server/accounting.py",
            'self.cohort / self.population if self.sampling == "poisson" else 1.0',
            "self.cohort / self.population",
        ),
        "server/test_accounting.py::test_no_amplification_is_claimed_for_fixed_cohorts",
    ),
    mutant(
        "live central noise seeded",
        "noise in a live run is not the recipe's to foretell",
        Edit(
            _ROUNDS,
            '"central noise", number) if plan.seeded_noise else',
            '"central noise", number) if True else',
        ),
        _OF_ROUNDS + "test_a_simulations_noise_repeats_and_a_live_runs_does_not",
    ),
    mutant(
        "live cohort seeded",
        "who takes part in a live run is a secret",
        Edit(_ROUNDS, "seeded = plan.seeded_noise or not plan.private", "seeded = True"),
        _OF_ROUNDS + "test_a_live_cohort_is_not_the_recipes_to_foretell",
    ),
    mutant(
        "same noise every round (simulation)",
        "every round has noise of its own",
        Edit(_ROUNDS, '"central noise", number)', '"central noise")'),
        _OF_ROUNDS + "test_no_rounds_noise_tells_of_anothers[simulation]",
    ),
    mutant(
        "same cohort every round (simulation)",
        "every round throws its own coins",
        Edit(_ROUNDS, '"cohort", number, *again)', '"cohort", *again)'),
        _OF_ROUNDS + "test_people_are_drawn_at_the_rate_that_is_accounted_for",
    ),
    mutant(
        "private silent round repeated",
        "a private round in which nobody delivers is released and paid for like any other",
        (
            Edit(_ROUNDS, "if plan.private and plan.live:", "if False:"),
            # Pauses that double for minutes would only make it take long.
            Edit(_ROUNDS, "_LONGEST_PAUSE = 60.0", "_LONGEST_PAUSE = 0.01"),
        ),
        _LIVE + "test_a_private_round_in_which_nobody_delivers_is_released_and_counted[all fail]",
    ),
    mutant(
        "cohort drawn anew after crash",
        "a server that falls cannot choose who takes part",
        Edit("server/attempts.py", "if redraw else before.cohort", "if True else before.cohort"),
        _FAULTS + "test_a_round_that_is_begun_again_asks_the_same_devices",
    ),
    mutant(
        "quorum not waited for",
        "a round begins when enough devices are online, and nobody is drawn before",
        Edit(_ROUNDS, "if len(nodes) - unwilling >= quorum:", "if True:"),
        _LIVE + "test_a_round_waits_for_its_quorum_and_spends_nothing_meanwhile",
    ),
    mutant(
        "noise_cohort allowed live (server)",
        "noise for a cohort that is not there is for simulations",
        Edit(_ROUNDS, "plan.private and not plan.seeded_noise:", "plan.private and False:"),
        _OF_ROUNDS + "test_noise_for_a_cohort_that_is_not_there_is_refused_live",
    ),
    mutant(
        "public report has clients",
        "how many took part in a private round is not told",
        Edit("server/plan.py", 'return told | {"signal": self.signal}', 'told |= {"signal": self.signal}'),
        _LIVE + "test_what_is_public_names_nobody[True]",
    ),
    mutant(
        "NaN update let through",
        "an update that is not finite counts for nothing",
        Edit(_VALIDATION, "if not math.isfinite(norm):", "if False:"),
        _WRONG + "[nan]",
    ),
    mutant(
        "server norm check off",
        "an update beyond the clipping norm counts for nothing",
        Edit(_VALIDATION, "if clip is not None and norm > clip * (1 + NORM_TOLERANCE):", "if False:"),
        _OF_ROUNDS + "test_a_norm_beyond_the_clipping_norm_is_dropped_where_privacy_depends_on_it",
    ),
    mutant(
        "replay of round/run accepted",
        "a reply counts in the round and run that it was made for",
        Edit(_VALIDATION, "if field in header and header[field] != value:", "if False:"),
        _WRONG + "[another run]",
    ),
    mutant(
        "second reply counted",
        "a device counts once a round",
        Edit(_VALIDATION, "        if node in self._heard:", "        if False:"),
        _OF_ROUNDS + "test_an_update_that_comes_twice_counts_once",
    ),
)
