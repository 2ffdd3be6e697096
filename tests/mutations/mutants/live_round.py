"""Bugs in a live round as a device sees it."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_ROUND = "client/rounds/live_round.py"
_APP = "client/app.py"
_TESTS = "client/rounds/test_live_round.py::"
_PAY = "        if self.claim is not None:\n            self._reserve(ledger, self.claim, question)\n"
_KEEP = '        array = content.array_records["shared"]["shared"]\n        header = dict'
_KEPT = "        kept = self._outbox.find(question.run, question.round, question.digest)\n"

MUTANTS = (
    mutant(
        "live: reserve after training",
        "a round is in the ledger before it is trained",
        (
            Edit(_ROUND, _PAY, ""),
            Edit(
                _ROUND,
                _KEEP,
                "        if self.claim is not None:\n"
                "            policy = self.policy\n"
                "            self._reserve(Ledger(self.device.ledger_path, policy.total_epsilon, policy.delta), "
                "self.claim, self._question)\n" + _KEEP,
            ),
        ),
        _TESTS + "test_a_ledger_that_cannot_be_written_lets_nothing_leave",
    ),
    mutant(
        "live: budget error ignored",
        "a round beyond the budget is declined",
        Edit(
            _ROUND,
            '            raise DeclinedError(\n                f"policy total_epsilon',
            '            return\n            raise DeclinedError(\n                f"policy total_epsilon',
        ),
        _TESTS + "test_the_budget_is_named_and_what_was_spent_is_not",
    ),
    mutant(
        "stale anchor accepted",
        "files restored from a backup answer nothing, also when the server does not know",
        Edit(_ROUND, "        anchor.check(ledger)\n", ""),
        _TESTS + "test_an_older_ledger_is_refused_though_the_server_knows_of_nothing",
    ),
    mutant(
        "anchor never moved",
        "the anchor remembers how far the ledger had come",
        Edit(_ROUND, "        anchor.move(ledger)\n", ""),
        _TESTS + "test_an_older_ledger_is_refused_though_the_server_knows_of_nothing",
    ),
    mutant(
        "server count (seen) not compared",
        "files that are older than what the server counted answer nothing",
        Edit(_ROUND, "if isinstance(seen, int) and seen > known:", "if False:"),
        _TESTS + "test_the_owner_reads_in_full_what_the_server_reads_in_part",
    ),
    mutant(
        "outbox never used (retrains)",
        "the same question gets the same bytes",
        (
            Edit(_ROUND, _KEPT, "        kept = None\n"),
            Edit(_ROUND, "if record.has_answered(question):", "if False:"),
        ),
        _TESTS + "test_what_is_asked_again_is_neither_trained_nor_spent_again",
    ),
    mutant(
        "reply sent before outbox",
        "a reply is kept before it leaves",
        Edit(_APP, "            live.keep(content)\n", "            pass\n"),
        _TESTS + "test_what_is_asked_again_is_neither_trained_nor_spent_again",
    ),
    mutant(
        "min noise never judged",
        "a round with less noise than the owner asks for is declined",
        Edit(_ROUND, "policy.refusal_of_noise(claim.noise_multiplier) or ", ""),
        _TESTS + "test_what_the_owner_does_not_allow_is_declined_untrained_and_unpaid[too little noise]",
    ),
    mutant(
        "shared set never judged",
        "only what the owner allows is sent",
        Edit(_ROUND, "if reason := self.policy.refusal_of_shared(asked.shared, own.shared):", "if False:"),
        _TESTS + "test_what_the_owner_does_not_allow_is_declined_untrained_and_unpaid[another tensor]",
    ),
    mutant(
        "recipe never judged",
        "only recipes that the owner allows are trained",
        Edit(_ROUND, "if reason := policy.refusal(recipe):", "if False:"),
        _TESTS + "test_what_the_owner_does_not_allow_is_declined_untrained_and_unpaid[too large a clip]",
    ),
    mutant(
        "another device's ledger accepted",
        "the anchor knows its own device's ledger from any other",
        Edit("client/home/ledger_anchor.py", "if chained(entries[:count]) != digest:", "if False:"),
        "client/home/test_spending.py::test_another_devices_ledger_is_refused",
    ),
    mutant(
        "outbox not keyed by weights",
        "another question of the same round does not get the reply to the first",
        Edit("client/rounds/outbox.py", "-{hashed(question)}", "-{hashed('')}"),
        "client/rounds/test_outbox.py::test_the_same_question_gets_the_same_bytes_and_another_none",
    ),
    mutant(
        "outbox folder named by the run",
        "a run's name, which the server chooses, names no place on the device's disk",
        Edit("client/rounds/outbox.py", "name = hashlib.sha256(run.encode()).hexdigest()[:32]", "name = run"),
        "client/rounds/test_outbox.py::test_a_runs_name_names_no_place_on_the_disk",
    ),
    mutant(
        "damaged reply sent again",
        "what is sent again is what was sent",
        Edit(
            "client/rounds/outbox.py",
            'if hashlib.sha256(body).hexdigest() != described["sha256"]:',
            "if False:",
        ),
        "client/rounds/test_outbox.py::test_a_damaged_reply_counts_as_none",
    ),
    mutant(
        "count of recordings in reply header",
        "a reply holds an update and the agreed header",
        Edit(
            _APP,
            "content = _content(reply_header, buffer)",
            'content = _content({**reply_header, "utterances": len(device.recordings)}, buffer)',
        ),
        _TESTS + "test_a_reply_says_what_was_agreed_and_no_more",
    ),
    mutant(
        "error text in reply",
        "the text of an error stays with the owner",
        Edit(
            _APP,
            "return RefusedError(refusal, told)",
            "return RefusedError(refusal, text)",
        ),
        "client/test_app.py::test_the_server_learns_the_kind_of_an_error_and_the_owner_its_text",
    ),
)
