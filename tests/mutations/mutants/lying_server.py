"""Bugs that let a server that lies have more than was paid for."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_ROUND = "client/rounds/live_round.py"
_QUESTION = "client/rounds/question.py"
_POLICY = "client/home/policy.py"
_WEIGHTS = "client/rounds/weights_check.py"
_WITNESSES = "client/home/ledger_witnesses.py"
_LIES = "client/rounds/test_live_round_lies.py::"
_OF_WEIGHTS = "client/rounds/test_weights_check.py::"
_FIELDS = "client/home/test_policy.py::test_a_recipe_outside_a_field_is_declined_with_both_values"
_LOST = _LIES + "test_a_ledger_that_was_deleted_with_its_memory_is_noticed_and_refused"

MUTANTS = (
    mutant(
        "digest without recipe",
        "the same round under another recipe is another question",
        Edit(_QUESTION, '{"recipe": recipe.model_dump_json(), ', '{"recipe": "", '),
        "client/rounds/test_question.py::test_every_number_of_the_recipe_is_in_the_digest",
    ),
    mutant(
        "digest without population",
        "the same round out of another population is another question",
        Edit(_QUESTION, 'frozenset({"attempt", "seen"})', 'frozenset({"attempt", "seen", "population"})'),
        "client/rounds/test_question.py::test_any_other_field_of_the_header_is_another_question[fields2]",
    ),
    mutant(
        "digest without weights",
        "the same round on other weights is another question",
        Edit(_QUESTION, '.model_dump_json(), "weights": start}', '.model_dump_json(), "weights": ""}'),
        "client/rounds/test_question.py::test_other_weights_are_another_question",
    ),
    mutant(
        "outbox evicts another run's letter",
        "no run pushes another's letters out",
        Edit(
            "client/rounds/outbox.py",
            "        self._let_go(path)\n",
            "        [other.unlink() for other in self._letters() if other.parent != path.parent]\n"
            "        self._let_go(path)\n",
        ),
        "client/rounds/test_outbox.py::test_no_run_pushes_out_another_and_no_round_an_earlier_one",
    ),
    mutant(
        "answered question trained again for free",
        "what was answered is never trained a second time",
        Edit(
            _ROUND,
            "if record.has_answered(question):",
            "if record.has_answered(question) and kept is not None:",
        ),
        _LIES + "test_a_letter_that_is_gone_is_not_trained_again",
    ),
    mutant(
        "changed recipe answered",
        "a run keeps the recipe that this device agreed to",
        Edit("client/rounds/pinned_recipe.py", "    if record.recipe is None:\n", "    if True:\n"),
        "client/rounds/test_pinned_recipe.py::test_the_population_is_kept_too",
        _LIES
        + "test_another_form_of_a_round_that_was_paid_for_is_declined_with_both_values[privacy.clipping_norm]",
    ),
    mutant(
        "population of recipe and header not compared",
        "the rate that a round is counted with is the one that cohorts are drawn with",
        (
            Edit(
                "client/home/spending.py",
                "if privacy.population is not None and privacy.population != population:",
                "if False:",
            ),
            Edit(
                "client/home/spending.py",
                "    people = population\n",
                "    people = privacy.population or population\n",
            ),
        ),
        _LIES + "test_a_recipes_population_must_be_the_servers",
    ),
    mutant(
        "asked-too-often test off",
        "a device that is asked more often than its coin allows stops",
        Edit(_ROUND, "        self._refuse_impossible_coin(record, question)\n", ""),
        _LIES + "test_a_device_that_is_asked_too_often_stops_for_good_and_says_so",
    ),
    mutant(
        "asked-too-often stop forgotten",
        "a run that was stopped stays stopped",
        Edit(_ROUND, "        self._answers.stop(question.run, reason)\n", ""),
        _LIES + "test_a_device_that_is_asked_too_often_stops_for_good_and_says_so",
    ),
    mutant(
        "budget without amplification off",
        "what is sent is bounded also if no coin is believed",
        Edit("client/home/spending.py", "    _refuse_costly_answers(history, policy, claim)\n", ""),
        _LIES + "test_without_sampling_there_is_a_budget_too",
    ),
    mutant(
        "answers a run not limited",
        "a run has no more answers than the owner allows",
        Edit(_ROUND, "if len(record.answered) >= self.policy.maximum_answers_per_run:", "if False:"),
        _LIES + "test_no_more_answers_than_the_owner_allows",
    ),
    mutant(
        "cohort floor not judged by the device",
        "a device answers for no smaller a cohort than its owner's",
        Edit(_POLICY, "if expected >= self.minimum_cohort:", "if True:"),
        "client/home/test_policy.py::test_a_cohort_is_judged_by_recipe_and_population",
    ),
    mutant(
        "batch floor not judged",
        "no step is made of fewer utterances than the owner allows",
        Edit(_POLICY, "if batch < self.minimum_batch:", "if False:"),
        _FIELDS,
    ),
    mutant(
        "learning rate not judged",
        "no step is larger than the owner allows",
        Edit(_POLICY, "if rate > self.maximum_learning_rate:", "if False:"),
        _FIELDS,
    ),
    mutant(
        "incoming weights never judged",
        "weights that training did not make are not trained on",
        Edit(_ROUND, "        if self.policy.weights_reach:\n", "        if False:\n"),
        _LIES + "test_weights_out_of_reach_are_declined_and_nothing_is_spent",
    ),
    mutant(
        "weights check without finiteness",
        "weights that are not finite are not trained on",
        Edit(_WEIGHTS, "if not bool(torch.isfinite(sent).all()):", "if False:"),
        _OF_WEIGHTS + "test_numbers_that_are_not_finite_are_refused[nan]",
    ),
    mutant(
        "weights check without distance",
        "weights are within training's reach of this device's own",
        Edit(_WEIGHTS, "if (found := _rms(moved)) > ", "if (found := 0 * _rms(moved)) > "),
        _OF_WEIGHTS + "test_one_tensor_out_of_reach_is_named_with_both_figures",
    ),
    mutant(
        "weights check without single numbers",
        "no single number of the weights is out of training's reach",
        Edit(_WEIGHTS, "if (found := _peak(moved)) > ", "if (found := 0 * _peak(moved)) > "),
        _OF_WEIGHTS + "test_one_number_out_of_reach_is_enough",
    ),
    mutant(
        "weights check without norms",
        "weights are within a round's reach of those seen last",
        Edit(_WEIGHTS, "if norm > limit or earlier > ", "if False and earlier > "),
        _OF_WEIGHTS + "test_a_tensor_that_shrinks_or_grows_between_two_rounds_is_refused",
    ),
    mutant(
        "noise hides crafted weights",
        "claimed noise widens the reach of weights by no more than a bound",
        Edit(_WEIGHTS, "min(_DEVIATIONS * self.noise, MOST_NOISE)", "_DEVIATIONS * self.noise"),
        _OF_WEIGHTS + "test_honest_noise_passes_and_claimed_noise_hides_no_trap",
    ),
    mutant(
        "lost ledger and anchor accepted with the outbox kept",
        "a home that answered before and has an empty ledger answers nothing",
        (
            Edit(_ROUND, "        check_beginning(ledger, anchor)\n", ""),
            Edit(_WITNESSES, "    if strangers:\n", "    if False:\n"),
        ),
        _LOST + "[the ledger, its memory outside, and the answers; outbox kept]",
    ),
    mutant(
        "lost ledger accepted where only the identity is left",
        "a home that took part before and has no ledger answers nothing",
        Edit(_ROUND, "        check_beginning(ledger, anchor)\n", ""),
        _LOST + "[all but the identity]",
    ),
    mutant(
        "lost answers accepted",
        "a device that forgot what it answered answers nothing",
        Edit(_WITNESSES, "    if unheard:\n", "    if False:\n"),
        _LOST + "[the answers alone]",
    ),
    mutant(
        "server's older copy answered",
        "a round that was released is not answered again on other weights",
        Edit(_ROUND, "if question.round <= last and not repeated:", "if False:"),
        _LIES + "test_a_server_restored_from_an_old_copy_is_declined_and_told_why",
    ),
    mutant(
        "voice's folder named by the run",
        "a run's name, which the server chooses, names no place for the voice",
        Edit(
            "client/home/device.py",
            'f"run-{hashlib.sha256(run.encode()).hexdigest()[:32]}"',
            "run",
        ),
        "client/home/test_device.py::test_a_runs_name_is_no_place_on_the_disk[a/b]",
    ),
)
