"""Bugs in what is made of damaged and odd files."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_PROFILES = "client/test_damaged_profiles.py::"
_TABLES = "client/home/test_tables.py::"
_SOUNDS = "shared_models/test_odd_recordings.py::"

MUTANTS = (
    mutant(
        "numbers of a profile go unchecked",
        "a voice of numbers that no voice has is refused before it is spoken in",
        Edit(
            "client/profile.py",
            "        if problem := _problem(tensor):\n",
            "        if (problem := _problem(tensor)) and False:\n",
        ),
        _PROFILES + "test_tensors_that_are_no_voice[<lambda>-'embedding' holds NaN or infinite numbers]",
    ),
    mutant(
        "an open quote takes the next rows",
        "no row vanishes into another row's text",
        Edit("client/home/tables.py", "        if layout.is_row(more, like=plain):\n", "        if False:\n"),
        _TABLES + "test_a_quote_that_is_not_closed_takes_no_row_with_it[,]",
        _TABLES + "test_an_open_quote_is_not_closed_by_a_later_row",
    ),
    mutant(
        "piper's speakers are one person",
        "the people of a corpus stay apart, since privacy counts them",
        Edit(
            "client/home/tables.py",
            "    speakers = width == 3 and _second_is_speaker(",
            "    speakers = width == 4 and _second_is_speaker(",
        ),
        _TABLES + "test_piper_names_speakers_in_its_second_column",
    ),
    mutant(
        "cut files pass",
        "a recording that ends before its text does is left out",
        Edit(
            "shared_models/audio/decoding.py",
            "    if missing > _LOST_SECONDS * rate:\n",
            "    if missing > 1e9 * rate:\n",
        ),
        _SOUNDS + "test_a_file_that_was_cut_short_is_found[0.6-.wav]",
    ),
    mutant(
        "a live round trains on recordings that are gone",
        "a recording that vanished is named to its owner and left out",
        Edit(
            "client/rounds/device_training.py",
            "    if task.simulated:\n        return device",
            "    if True:\n        return device",
        ),
        "client/rounds/test_live_round.py::"
        "test_recordings_that_vanish_or_break_after_joining_are_named_to_their_owner_and_left_out",
    ),
    mutant(
        "a mended recording is cloned without a word",
        "what was mended in a recording is told to its owner",
        Edit("client/enrollment.py", "enrolled.notes.extend(", "tuple("),
        "client/commands/test_clone_command.py::test_odd_files_are_left_out_by_name_and_stdout_stays_json",
    ),
)
