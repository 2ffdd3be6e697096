"""Bugs in how a text is read: what is dropped without a word, tones, and lists that fuse."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_MANDARIN = "shared_models/test_text_mandarin.py::"

MUTANTS = (
    mutant(
        "letters of other scripts are dropped silently",
        "what no front end says is named",
        Edit(
            "shared_models/text/unspoken.py",
            'kept = "".join(" " if _is_said(character, code)',
            'kept = "".join(" " if True',
        ),
        "shared_models/test_text_unspoken.py::test_what_no_front_end_says_is_named",
    ),
    mutant(
        "emoji are dropped silently",
        "what no front end says is named",
        Edit("shared_models/text/unspoken.py", 'category[0] in "ZMP"', 'category[0] in "ZMPS"'),
        "shared_models/test_text_unspoken.py::test_what_no_front_end_says_is_named",
    ),
    mutant(
        "不 keeps its tone before a fourth one",
        "一 and 不 change their tones as they are spoken",
        Edit(
            "shared_models/text/mandarin_pinyin.py",
            '"bu2" if following.endswith("4")',
            '"bu2" if following.endswith("9")',
        ),
        _MANDARIN + "test_syllables_as_they_are_spoken",
    ),
    mutant(
        "numbers with commas between them fuse",
        "a list of numbers is never one number",
        Edit("shared_models/text/written_english/rules.py", "(?!,?\\d)|", "|"),
        "shared_models/test_written_english.py::test_a_class_is_read_as_a_native_reader_reads_it",
    ),
    mutant(
        "a long word is one piece",
        "any text is spoken in pieces of bounded length",
        Edit("shared_models/text/pieces.py", "if size + weight > LONGEST_PIECE:", "if False:"),
        "shared_models/test_text_pieces.py::test_any_text_is_spoken_in_pieces_of_bounded_length",
    ),
)
