"""Bugs in how clones are judged."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_TESTS = "simulations/test_cloning_bench.py::"

MUTANTS = (
    mutant(
        "a clone compared with what it was cloned from",
        "no recording serves two purposes in the cloning benchmark",
        Edit(
            "simulations/benchmarks/cloning_material.py",
            "others = [u for u in rest if u not in query]",
            "others = usable",
        ),
        _TESTS + "test_no_recording_serves_two_purposes",
    ),
    mutant(
        "anybody identified as the speaker",
        "a clip is a speaker's only if no other voice is nearer",
        Edit(
            "simulations/evaluation/verification.py",
            "(self.own > self.others.max(axis=1))",
            "(self.own > self.others.min(axis=1))",
        ),
        "simulations/test_verification.py::test_a_clip_is_its_own_speakers_and_no_others",
    ),
    mutant(
        "stored figures of another base",
        "what was judged of one base is not taken for another's",
        Edit("simulations/benchmarks/cloning_work.py", 'if stored["digest"] == piece.digest:', "if stored:"),
        _TESTS + "test_a_base_that_changed_is_judged_anew",
    ),
    mutant(
        "clones to listen to without the mark",
        "what is kept of a clone is marked",
        Edit(
            "simulations/reports/listen.py",
            "(BEFORE, ZERO_SHOT, ADAPTED)]",
            "(BEFORE, ZERO_SHOT, ADAPTED)]\n        made = [(words, clips, False) for words, clips, _ in made]",
        ),
        "simulations/test_listen_page.py::test_a_page_plays_four_ways_of_every_sentence",
    ),
)
