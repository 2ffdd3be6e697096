"""Bugs in what of a call is believed, in names that are shown, and in whose files are whose."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_DEVICES, _GATE = "server/live/test_device_calls.py::", "server/live/test_gate.py::"
_SIGNED = '"\\n".join((session, method, target, digest, number))'

MUTANTS = (
    mutant(
        "call signature without path",
        "a captured call serves no other",
        Edit("shared_models/call_signature.py", _SIGNED, '"\\n".join((session, method, digest, number))'),
        _DEVICES + "test_a_captured_call_serves_no_other_and_not_twice",
    ),
    mutant(
        "call signature without body",
        "a signed call has the body that was signed",
        Edit(
            "server/live/body.py",
            "if self._digest is not None and self._hash.hexdigest() != self._digest:",
            "if False:",
        ),
        _DEVICES + "test_a_body_that_was_not_signed_does_not_reach_flower",
    ),
    mutant(
        "call number not remembered",
        "a captured call serves once",
        Edit(
            "server/live/admission.py",
            "if not self._numbers.take(key, int(call.headers[NUMBER_HEADER])):",
            "if False:",
        ),
        _DEVICES + "test_a_captured_call_serves_no_other_and_not_twice",
    ),
    mutant(
        "call of another session accepted",
        "what was captured before a restart is of no use after it",
        Edit(
            "server/live/admission.py",
            'if call.headers.get(SESSION_HEADER, b"") != self.session.encode():',
            "if False:",
        ),
        _DEVICES + "test_stolen_and_old_signatures_are_refused",
    ),
    mutant(
        "X-Forwarded-For believed from anybody",
        "nobody but a configured proxy says whose request it is",
        Edit("server/live/forwarded.py", "if not _within(peer, proxies):", "if False:"),
        _GATE + "test_forwarded_addresses_count_from_no_one_here",
    ),
    mutant(
        "file mode left to the umask",
        "a home's files are its owner's alone, whatever the umask",
        (
            Edit(
                "shared_models/private_files.py", "os.open(path, flags, _FILE)", "os.open(path, flags, 0o666)"
            ),
            Edit("shared_models/private_files.py", "        _shut(handle)\n", "        pass\n"),
        ),
        "shared_models/test_private_files.py::test_a_devices_home_is_its_owners_alone[18]",
    ),
    mutant(
        "folder mode left to the umask",
        "a home's folders are its owner's alone, whatever the umask",
        (
            Edit("shared_models/private_files.py", "made.mkdir(_FOLDER)", "made.mkdir()"),
            Edit("shared_models/private_files.py", "            made.chmod(_FOLDER)", "            pass"),
        ),
        "shared_models/test_private_files.py::test_a_devices_home_is_its_owners_alone[18]",
    ),
    mutant(
        "older homes stay open",
        "a home of before is shut when it is used again",
        Edit("shared_models/private_files.py", "if not stat.S_ISLNK(mode) and mode & _OTHERS:", "if False:"),
        "shared_models/test_private_files.py::test_a_home_of_before_is_shut_and_its_owner_keeps_every_right",
    ),
    mutant(
        "markup read",
        "a name is shown as it is, and not read as markup",
        Edit(
            "shared_models/literal_console.py",
            "super().__init__(markup=False, emoji=False, **options)",
            "super().__init__(markup=True, emoji=False, **options)",
        ),
        "server/live/test_device_names.py::test_a_registry_of_nasty_names_is_listed[way0]",
    ),
    mutant(
        "control characters shown",
        "no terminal obeys a name",
        Edit("shared_models/shown_text.py", "if c in keep or _harmless(c) else", "if c in keep or c else"),
        "shared_models/test_shown_text.py::test_each_is_spelled_out_and_no_name",
    ),
    mutant(
        "all-digit name taken for a place",
        "where several devices answer to a word, nothing is guessed",
        Edit("server/live/registry.py", "        if len(found) == 1:\n", "        if found:\n"),
        "server/live/test_device_names.py::test_a_device_is_revoked_by_what_it_is_meant_by",
    ),
    mutant(
        "signature of a published model unchecked",
        "a published model is the federation authority's",
        Edit(
            "shared_models/published_model.py",
            "        key.verify(proof, PURPOSE + manifest, ec.ECDSA(hashes.SHA384()))\n",
            "",
        ),
        "shared_models/test_published_model.py::test_another_authority_is_noticed_by_who_joined",
    ),
    mutant(
        "file of a published model unchecked",
        "a published model's files are those that were signed",
        Edit("shared_models/published_model.py", "if listed(content) != manifest.files[name]:", "if False:"),
        "client/live/test_get_published_model.py::test_what_a_server_says_wrongly_is_not_used_and_does_not_stay"
        "[flip-not the file]",
    ),
)
