"""Planting bugs and judging what the tests said, one bug at a time, in copies of the checkout."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checkout import DoesNotApplyError, copy_checkout, planted
from mutants.mutant import Mutant

SECONDS = 240.0
"""What the tests of one bug may take before they count as hung."""

KILLED, SURVIVED, MISFIT, BROKEN = "killed", "survived", "does not apply", "broken"
EQUIVALENT = "equivalent"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one planted bug."""

    name: str
    outcome: str
    """One of the five words above. ``broken``: the bug or its tests say nothing, for the reason in ``why``."""
    why: str
    """The test that noticed and its error; or what is wrong."""
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.outcome in (KILLED, EQUIVALENT)


@dataclass(slots=True)
class Bench:
    """A copy of the checkout and a warm process in it."""

    root: Path
    process: subprocess.Popen[str]
    passed: dict[str, str] = field(default_factory=dict)
    """Test id to what is wrong with it on the code as it is; empty text if nothing is."""

    def ask(self, tests: Sequence[str]) -> dict[str, Any]:
        """Run tests on the copy as it is now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(
            json.dumps({"tests": [f"tests/{t}" for t in tests], "seconds": SECONDS}) + "\n"
        )
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process that runs the tests ended: its own words stand above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def judge(self, mutant: Mutant) -> Verdict:
        """The tests on the code as it is, then on the bug."""
        started = time.monotonic()
        if mutant.equivalent:
            return Verdict(mutant.name, EQUIVALENT, mutant.equivalent, 0.0)
        try:
            with planted(mutant, self.root):
                pass  # whether it applies is told before anything is run
        except DoesNotApplyError as error:
            return Verdict(mutant.name, MISFIT, str(error), 0.0)
        for test in mutant.killed_by:
            if test not in self.passed:
                self.passed[test] = _trouble(self.ask([test]))
            if self.passed[test]:
                why = f"{test} on the code as it is: {self.passed[test]}"
                return Verdict(mutant.name, BROKEN, why, time.monotonic() - started)
        started = time.monotonic()
        with planted(mutant, self.root):
            answer = self.ask(mutant.killed_by)
        outcome, why = _outcome(answer)
        return Verdict(mutant.name, outcome, why, time.monotonic() - started)


def judge_all(
    mutants: Sequence[Mutant], *, jobs: int = 1, on_verdict: Callable[[Verdict], None] | None = None
) -> list[Verdict]:
    """Judge ``mutants``, ``jobs`` at a time, and return their verdicts in the same order."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(len(mutants)):
        waiting.put(place)
    verdicts: dict[int, Verdict] = {}
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with bench() as own, contextlib.suppress(queue.Empty):
                while True:
                    place = waiting.get_nowait()
                    verdicts[place] = own.judge(mutants[place])
                    if on_verdict is not None:
                        on_verdict(verdicts[place])
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(max(1, min(jobs, len(mutants))))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return [verdicts[place] for place in range(len(mutants))]


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """A copy and a process, both gone at the end."""
    with tempfile.TemporaryDirectory(prefix="fv-", ignore_cleanup_errors=True) as folder:
        root = copy_checkout(Path(folder) / "c")
        for name in ("t", "state", "features"):
            (Path(folder) / name).mkdir()
        surroundings = os.environ | {
            "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
            "TMPDIR": str(Path(folder) / "t"), "XDG_STATE_HOME": str(Path(folder) / "state"),
            "FEDVOICE_CACHE": str(Path(folder) / "features"),
            "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, str(root / "tests" / "mutations" / "warm_process.py")],
            cwd=root, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield Bench(root, process)
        finally:
            process.kill()
            process.communicate()


def _trouble(answer: dict[str, Any]) -> str:
    """Why a test says nothing about the code as it is; empty if it passes."""
    if answer["hung"] or not answer["whole"]:
        return f"it did not end by itself\n{answer['log']}"
    if answer["collection_errors"]:
        return "; ".join(answer["collection_errors"])
    calls = [report for report in answer["reports"] if report["when"] == "call"]
    bad = [report for report in answer["reports"] if report["outcome"] != "passed"]
    if bad:
        return f"{bad[0]['outcome']}: {bad[0]['error']}: {bad[0]['message']}"
    return "" if calls else "there is no such test"


def _outcome(answer: dict[str, Any]) -> tuple[str, str]:
    """Killed only by a test that ran and failed; what cannot be imported or collected proves nothing."""
    if answer["hung"]:
        return BROKEN, f"the tests did not end within {SECONDS:g} s"
    if not answer["whole"]:
        return BROKEN, f"the tests' process died\n{answer['log']}"
    if answer["collection_errors"]:
        return BROKEN, "; ".join(answer["collection_errors"])
    failed = [report for report in answer["reports"] if report["outcome"] == "failed"]
    if not failed:
        return SURVIVED, f"all of {len({report['test'] for report in answer['reports']})} tests passed"
    first = failed[0]
    said = " ".join(f"{first['error']}: {first['message']}".split())[:160]
    if first["broken"]:
        return BROKEN, f"{first['test']}: {said}"
    return KILLED, f"{first['test'].removeprefix('tests/')}: {said}"
