"""Every planted bug still applies, names tests that exist, and, for a sample of the day, is noticed by them.

``python tests/mutations`` plants all of them.
"""

from __future__ import annotations

import ast
import datetime
import os
import random
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest
from checkout import REPOSITORY, DoesNotApplyError, misfits, planted
from judgement import BROKEN, KILLED, MISFIT, SURVIVED, judge_all
from mutants import MUTANTS
from mutants.mutant import Edit, Mutant, mutant

SAMPLE = 3
BY_NAME = pytest.mark.parametrize("bug", MUTANTS, ids=[bug.name for bug in MUTANTS])
SOUND = "shared_models/test_noise.py::test_as_many_are_drawn_as_were_asked_for[7-standard_normal-operating system]"


@lru_cache
def functions_of(file: Path) -> frozenset[str]:
    """The test functions of a file, less those that draw their cases: they would notice a bug by luck."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not any(ast.unparse(decorator).startswith("given(") for decorator in node.decorator_list)
    )


@BY_NAME
def test_it_applies_and_names_tests_that_exist(bug: Mutant) -> None:
    assert misfits(bug) == []
    assert bug.breaks
    assert bool(bug.killed_by) != bool(bug.equivalent), (
        "either a test notices it, or there is a reason why none can"
    )
    for edit in bug.edits:
        assert edit.old != edit.new
        assert edit.file.split("/")[0] in ("server", "client", "shared_models", "simulations")
    for test in bug.killed_by:
        file, name = test.split("::")
        assert name.split("[")[0] in functions_of(REPOSITORY / "tests" / file), test


def test_no_two_have_one_name_or_one_edit() -> None:
    assert not [name for name, count in Counter(bug.name for bug in MUTANTS).items() if count > 1]
    assert not [edits for edits, count in Counter(bug.edits for bug in MUTANTS).items() if count > 1]
    assert len(MUTANTS) >= 160


def test_planting_changes_a_copy_and_puts_it_back(tmp_path: Path) -> None:
    file = tmp_path / "server" / "code.py"
    file.parent.mkdir()
    file.write_text("a = 1\nb = 1\n")
    with planted(mutant("x", "y", Edit("server/code.py", "a = 1", "a = 2"), "t"), tmp_path):
        assert file.read_text() == "a = 2\nb = 1\n"
    assert file.read_text() == "a = 1\nb = 1\n"
    for wrong in ("= 1", "c = 1"):
        with (
            pytest.raises(
                DoesNotApplyError, match=r"'x' does not apply: server/code.py holds .* times, not once"
            ),
            planted(mutant("x", "y", Edit("server/code.py", wrong, "z"), "t"), tmp_path),
        ):
            pass
    assert misfits(mutant("x", "y", Edit("server/gone.py", "a", "z"), "t"), tmp_path)


@pytest.mark.slow
def test_a_sample_of_the_day_is_noticed() -> None:
    seed = int(
        os.environ.get("FEDVOICE_MUTATION_SEED", datetime.datetime.now(datetime.UTC).date().toordinal())
    )
    drawn = random.Random(seed).sample(MUTANTS, SAMPLE)
    print(
        f"python tests/mutations --sample {SAMPLE} --seed {seed} draws: {', '.join(bug.name for bug in drawn)}"
    )
    # And what the runner must tell from a bug that is noticed.
    noise = "shared_models/noise.py"
    controls = (
        mutant("unnoticed", "nothing", Edit(noise, "|noise| is at most 8.6", "|noise| is at most 9"), SOUND),
        mutant("no import", "nothing", Edit(noise, "import math\n", "import maths\n"), SOUND),
        mutant("no such name", "nothing", Edit(noise, "pairs = (size + 1) // 2", "pairs = sizes"), SOUND),
        mutant("no such test", "nothing", Edit(noise, "import math\n", "import math as math\n"), SOUND + "x"),
        mutant("no such text", "nothing", Edit(noise, "no such text", ""), SOUND),
    )
    verdicts = judge_all([*drawn, *controls])
    print(*verdicts, sep="\n")
    assert [v.outcome for v in verdicts[SAMPLE:]] == [SURVIVED, BROKEN, BROKEN, BROKEN, MISFIT]
    assert [v.why for v in verdicts[:SAMPLE] if v.outcome != KILLED] == []
