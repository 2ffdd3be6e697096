"""Bugs in who is let in: the gate, enrolment, and what a device takes for its own code."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_DEVICES, _OPEN = "server/live/test_device_calls.py::", "server/live/test_open_calls.py::"

MUTANTS = (
    mutant(
        "signature check off",
        "only who holds a device's key speaks for it",
        Edit(
            "server/live/admission.py",
            "problem = signatures.call_problem(_public_key(key), call.method, call.target, call.headers)",
            "problem = None",
        ),
        _DEVICES + "test_stolen_and_old_signatures_are_refused",
    ),
    mutant(
        "old signatures accepted (timestamp reused)",
        "an old signature opens nothing",
        Edit("server/live/signatures.py", "if not -AHEAD_SECONDS <= age <= CLOCK_SECONDS:", "if False:"),
        _DEVICES + "test_stolen_and_old_signatures_are_refused",
    ),
    mutant(
        "join code used twice",
        "a join code is for one device",
        Edit(
            "server/live/registry.py",
            '        raise EnrolmentError("this join code was used already: each is for one device")\n',
            "        pass\n",
        ),
        "server/live/test_registry.py::test_one_secret_enrols_one_of_many_who_try_at_once",
    ),
    mutant(
        "leave proof not tied to time",
        "an old proof does not end a device's place",
        Edit("server/live/enrolment.py", "if not abs(age) <= CLOCK_SECONDS:", "if False:"),
        _OPEN + "test_leaving_takes_a_fresh_signature_and_ends_the_place",
    ),
    mutant(
        "forged sender accepted",
        "nobody answers for another",
        Edit("server/live/device_calls.py", "if senders - {device.node_id}:", "if False:"),
        _DEVICES + "test_nobody_answers_for_another",
    ),
    mutant(
        "foreign bundle accepted",
        "a device runs only what its owner installed",
        Edit(
            "client/live/worker.py",
            "        if reason := refusal(task.bundle):\n            return reason\n",
            "",
        ),
        "client/live/test_only_my_code.py::"
        "test_a_device_runs_only_its_own_code_and_only_what_its_policy_allows",
    ),
)
