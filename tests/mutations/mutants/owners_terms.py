"""Bugs in whose terms a voice is trained on, and in what is said of it and counted for it."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_ADAPTATION = "client/learning/private_adaptation.py"
_TRAINING = "client/rounds/device_training.py"
_DEVICE = "client/home/device.py"
_LEDGER = "client/home/ledger.py"
_POLICY = "client/home/policy.py"
_LEFT_OUT = "client/learning/test_leave_one_out.py::"
_OF_TERMS = "client/rounds/test_owners_terms.py::"
_OF_LEDGER = "client/home/test_owner_ledger.py::"
_OF_POLICY = "client/home/test_policy.py::"
_FIELDS = _OF_POLICY + "test_a_recipe_outside_a_field_is_declined_with_both_values"

MUTANTS = (
    mutant(
        "private steps with dropout",
        "no mask that others share is on a private loss",
        Edit(_ADAPTATION, "with _nothing_dropped(model.model):", "with contextlib.nullcontext():"),
        _LEFT_OUT + "test_leaving_an_utterance_out_moves_the_sum_by_the_clipping_norm_at_most[looped-{}]",
    ),
    mutant(
        "private steps with windows",
        "no window that others share is cut out of a private loss",
        (
            Edit(
                _ADAPTATION,
                "model.model(batch, window=None)",
                "model.model(batch, window=recipe.client.window_frames, generator=windows)",
            ),
            Edit(
                _ADAPTATION,
                "    def loss(chosen",
                "    windows = torch.Generator().manual_seed(recipe.seed)\n\n    def loss(chosen",
            ),
        ),
        _LEFT_OUT + "test_leaving_an_utterance_out_moves_the_sum_by_the_clipping_norm_at_most[looped-{}]",
    ),
    mutant(
        "collate drops all durations",
        "an utterance without alignment takes the others' away from nobody",
        Edit(
            "shared_models/features.py",
            "if any(aligned) else None",
            "if all(aligned) else None",
        ),
        "shared_models/test_features.py::test_an_utterance_without_durations_leaves_the_others_theirs",
    ),
    mutant(
        "private voice adopts a non-private one",
        "a private run starts from nobody's voice or from a private one",
        Edit(_DEVICE, ".get(_PAID_BY) == ledger", ".get(_PAID_BY) != ''"),
        _OF_TERMS + "test_a_private_run_starts_from_zero_after_one_that_was_not",
    ),
    mutant(
        "private round goes on from one that was not",
        "a run whose recipe becomes private starts from nobody's voice",
        Edit(
            _DEVICE,
            "paid = [r for r in rounds if _is_paid(self._personal_file(run, r), paid_by)]",
            "paid = rounds",
        ),
        _OF_TERMS + "test_a_run_whose_recipe_becomes_private_starts_from_zero",
    ),
    mutant(
        "fedper's voice taken for private",
        "only what DP-SGD trained is marked as paid for",
        Edit(_TRAINING, "recipe.algorithm.trains_voice_without_noise", "False"),
        _OF_TERMS + "test_what_fedper_trains_is_not_taken_for_private",
    ),
    mutant(
        "the recipe's noise taken, not the owner's",
        "noise is never below the owner's minimum",
        Edit(_ADAPTATION, "    noise = max(noise, terms.minimum_noise_multiplier)\n", ""),
        _OF_TERMS + "test_noise_is_at_least_the_owners",
    ),
    mutant(
        "the recipe's epsilon taken, not the owner's",
        "the noise is made for no more than the owner's epsilon",
        Edit(_POLICY, "else min(asked, self.personal_epsilon)", "else asked"),
        _OF_POLICY + "test_the_terms_of_personal_training_are_the_owners",
    ),
    mutant(
        "the recipe's budget taken, not the owner's",
        "the budget of an owner's utterances is the owner's",
        Edit(
            _TRAINING,
            "open_owner_ledger(policy.personal_epsilon, policy.personal_delta, home",
            "open_owner_ledger(personal.epsilon, personal.delta, home",
        ),
        _OF_TERMS + "test_the_budget_is_the_owners_over_all_runs_and_cloning",
    ),
    mutant(
        "fedper accepted where personal privacy is required",
        "what trains the voice without noise is declined where the owner requires noise",
        Edit(_POLICY, "if recipe.algorithm.trains_voice_without_noise:", "if False:"),
        _FIELDS,
    ),
    mutant(
        "vocoder accepted where personal privacy is required",
        "what trains on the voice without noise is declined where the owner requires noise",
        Edit(_POLICY, '        if recipe.trains == "vocoder":\n', "        if False:\n"),
        _FIELDS,
    ),
    mutant(
        "weak personal noise accepted where privacy is required",
        "a recipe that names less noise than the owner's minimum is declined",
        Edit(_POLICY, "if noise is not None and noise < least:", "if False:"),
        _FIELDS,
    ),
    mutant(
        "profile header with the sampling probability",
        "a voice's file does not tell how many utterances there were",
        Edit(
            "client/speaker_embedding.py",
            'GUARANTEE = ("unit", "epsilon", "delta", "mechanism")',
            'GUARANTEE = ("unit", "epsilon", "delta", "mechanism", "sampling_probability")',
        ),
        "client/test_profile.py::test_the_header_holds_nothing_that_depends_on_the_recordings",
    ),
    mutant(
        "statement with the ledger's epsilon",
        "what travels with a voice does not tell what else the ledger holds",
        Edit(
            _ADAPTATION,
            "    return _statement(recipe, terms, settings.noise_multiplier, total_steps)",
            "    return _statement(recipe, terms, settings.noise_multiplier, total_steps) "
            '| {"epsilon": book.spent()}',
        ),
        "client/test_cloning.py::test_what_travels_with_a_voice_does_not_depend_on_the_recordings",
    ),
    mutant(
        "unprotected export not entered",
        "what is made without noise is in the ledger as such",
        Edit(
            "client/cloning.py",
            '    ledger.record_unprotected(run="clone", round_number=0, purpose=purpose)\n',
            "",
        ),
        "client/test_cloning.py::test_every_clone_is_in_the_ledger_before_a_recording_is_heard",
    ),
    mutant(
        "unprotected release costs nothing",
        "no finite epsilon is said beside an unprotected release",
        Edit(_LEDGER, "math.inf if self.unprotected(unit) else", "0.0 if self.unprotected(unit) else"),
        _OF_LEDGER + "test_an_unprotected_release_is_infinite_and_remembered",
    ),
    mutant(
        "owner's ledger without an anchor",
        "an older copy of the owner's ledger pays for nothing",
        Edit(
            "client/home/owner_ledger.py",
            'LedgerAnchor(f"ledger of utterances {path.resolve()}")',
            "None",
        ),
        _OF_LEDGER + "test_an_older_copy_is_refused",
    ),
)
