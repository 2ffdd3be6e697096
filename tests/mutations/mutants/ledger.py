"""Bugs in a device's ledger and policy: what may be spent, and what is remembered of it."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_LEDGER = "client/home/ledger.py"
_POLICY = "client/home/policy.py"
_SPENDING = "client/home/spending.py"
_OF_LEDGER = "client/home/test_ledger.py::"
_OF_POLICY = "client/home/test_policy.py::"
_FIELDS = _OF_POLICY + "test_a_recipe_outside_a_field_is_declined_with_both_values"
_OF_SPENDING = "client/home/test_spending.py::"

MUTANTS = (
    mutant(
        "budget compare flipped",
        "nothing is spent beyond the budget",
        Edit(_LEDGER, "> self.epsilon:", "< self.epsilon:"),
        _OF_LEDGER + "test_a_refused_spend_leaves_nothing_behind_and_a_smaller_one_still_fits",
    ),
    mutant(
        "budget ignores earlier spends",
        "the budget holds over everything ever spent",
        Edit(_LEDGER, "self._cost([*earlier, release])", "self._cost([release])"),
        _OF_LEDGER + "test_a_refused_spend_leaves_nothing_behind_and_a_smaller_one_still_fits",
    ),
    mutant(
        "ledger swallows errors",
        "nothing is released when the ledger cannot be written",
        (
            Edit(
                _LEDGER,
                '            database.execute("ROLLBACK")\n        raise\n',
                '            database.execute("ROLLBACK")\n',
            ),
            Edit(
                _LEDGER, "        release = spend.release\n", "        release, number = spend.release, 0\n"
            ),
        ),
        _OF_LEDGER + "test_a_refused_spend_leaves_nothing_behind_and_a_smaller_one_still_fits",
    ),
    mutant(
        "ledger commit not durable (synchronous OFF)",
        "an entry is on the disk before anything leaves",
        Edit(_LEDGER, "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),
        _OF_LEDGER + "test_an_entry_is_on_the_disk_when_it_is_promised",
    ),
    mutant(
        "ledger lock DEFERRED",
        "two processes cannot both spend what is left",
        Edit(_LEDGER, 'database.execute("BEGIN IMMEDIATE")', 'database.execute("BEGIN DEFERRED")'),
        _OF_LEDGER + "test_the_budget_is_looked_at_with_the_ledger_locked",
    ),
    mutant(
        "min noise compare flipped",
        "a recipe with less noise than the owner asks for is declined",
        Edit(
            _POLICY,
            "if noise_multiplier >= self.minimum_noise_multiplier:",
            "if noise_multiplier <= self.minimum_noise_multiplier:",
        ),
        _OF_POLICY + "test_too_little_noise_is_declined",
    ),
    mutant(
        "max clipping norm not checked",
        "a recipe with a larger clip than the owner allows is declined",
        Edit(_POLICY, "if privacy.clipping_norm > self.maximum_clipping_norm:", "if False:"),
        _FIELDS,
    ),
    mutant(
        "noise_cohort allowed by policy",
        "noise for a cohort that is not there is declined",
        Edit(_POLICY, "if privacy.noise_cohort is not None:", "if False:"),
        _FIELDS,
    ),
    mutant(
        "full sharing allowed by policy",
        "a recipe that shares a voice is declined",
        Edit(_POLICY, "if recipe.algorithm.sends_personal:", "if False:"),
        _FIELDS,
    ),
    mutant(
        "personal_privacy_required ignored",
        "an owner who requires personal privacy gets it",
        Edit(_POLICY, "if self.personal_privacy_required else None", "if False else None"),
        _FIELDS,
    ),
    mutant(
        "re-asked on other weights free",
        "a round that is asked for again in another form is one more release",
        Edit(_SPENDING, "and _first_time(mine, round_number)", ""),
        _OF_SPENDING + "test_the_same_question_is_paid_once_and_another_of_the_same_round_again",
    ),
    mutant(
        "round paid for whatever its weights",
        "an answer is the same release only to the same question",
        Edit(_SPENDING, 'purpose = f"{ROUND} (question {question})"', "purpose = ROUND"),
        _OF_SPENDING + "test_the_same_question_is_paid_once_and_another_of_the_same_round_again",
    ),
    mutant(
        "round beyond plan free",
        "a round that was not planned is paid in full",
        Edit(_SPENDING, "planned and round_number <= claim.rounds and", "planned and"),
        _OF_SPENDING + "test_a_round_beyond_the_plan_is_paid_in_full",
    ),
    mutant(
        "epsilon_per_run not checked",
        "a run that costs more than the owner allows is declined before its first round",
        Edit(_SPENDING, "    _refuse_costly_run(mine, policy, claim, round_number, unplanned)\n", ""),
        _OF_SPENDING + "test_a_run_that_will_cost_too_much_is_declined_before_its_first_round",
    ),
)
