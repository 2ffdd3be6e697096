"""How PyTorch's threads wait is set in time, may be overruled, and is measured on equal work."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest
from typer.testing import CliRunner

from simulations import cli
from simulations.benchmarks import busy_machine
from simulations.benchmarks.busy_machine import WORKS, Waiting, Work
from simulations.waiting_threads import OWN_SPINS, SPINS

runner = CliRunner()


def _told_by_openmp(**environment: str) -> str:
    """What GNU OpenMP itself says it does, in a process that runs a command and then loads torch."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from simulations import cli; cli.run(['--version']); import torch"],
        env=inherited | {"OMP_DISPLAY_ENV": "verbose"} | environment,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch computes with another OpenMP than GNU's")
    return next(line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line)


def test_threads_turn_a_short_while_unless_told_otherwise() -> None:
    assert f"'{SPINS}'" in _told_by_openmp()
    assert "'77'" in _told_by_openmp(GOMP_SPINCOUNT="77")
    assert "'0'" in _told_by_openmp(OMP_WAIT_POLICY="passive")


def test_the_ratio_is_that_of_medians() -> None:
    own = [Work(3.0, 0.3), Work(9.0, 0.1), Work(4.0, 0.2)]
    found = Waiting(1, own, [Work(1.0, 0.2), Work(2.0, 0.4), Work(60.0, 0.4)])
    assert {name: found.ratio(of) for name, of in WORKS.items()} == {
        "training step": 2.0,
        "spoken sentence": 0.5,
    }


@pytest.mark.slow
def test_the_command_measures_both_sides_beside_programs_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float]] = []

    def elsewhere(spins: int) -> Work:
        seen.append((spins, _busy_children()))
        return busy_machine.work(0.01)

    monkeypatch.setattr(busy_machine, "_work_elsewhere", elsewhere)
    done = runner.invoke(cli.app, ["bench", "busy", "--beside", "0,2", "--repeats", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert seen == [(OWN_SPINS, 0), (SPINS, 0), (OWN_SPINS, 2), (SPINS, 2)]
    assert _busy_children() == 0
    found = json.loads(done.stdout)
    assert [entry["busy"] for entry in found["beside"]] == [0, 2]
    for entry in found["beside"]:
        assert entry["ratios"]["training step"] == pytest.approx(
            entry["own"][0]["step_seconds"] / entry["ours"][0]["step_seconds"]
        )


def _busy_children() -> int:
    return sum("getppid" in " ".join(c.cmdline()) for c in psutil.Process().children())


@pytest.mark.slow
def test_busy_programs_end_with_the_one_who_started_them() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", "from simulations.benchmarks import busy_machine as b\n"
         "with b._busy_programs(2): print(flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert starter.stdout is not None
    starter.stdout.readline()
    busy = psutil.Process(starter.pid).children()
    assert len(busy) == 2
    starter.kill()
    starter.communicate()
    assert psutil.wait_procs(busy, timeout=30)[1] == []


@pytest.mark.slow
def test_each_side_works_in_a_process_that_was_told_how_to_wait(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("OMP_DISPLAY_ENV", "verbose")
    done = busy_machine._work_elsewhere(123)
    assert min(done.step_seconds, done.sentence_seconds) > 0
    said = capfd.readouterr().err
    if "GOMP_SPINCOUNT" not in said:
        pytest.skip("this torch computes with another OpenMP than GNU's")
    assert "GOMP_SPINCOUNT = '123'" in said


@pytest.mark.parametrize(
    ("command", "option", "wrong", "says"),
    [
        ("busy", "--beside", "0,-1", "from 0, as in 0,1"),
        ("engine", "--clients", "10,", "from 1, as in 10,50,200"),
        ("live", "--devices", "many", "from 1, as in 50,100,200"),
        ("live", "--devices", "0", "from 1, as in 50,100,200"),
    ],
)
def test_a_wrong_number_is_refused_in_one_line(
    command: str, option: str, wrong: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["bench", command, option, wrong]) == 2
    assert f"{option} takes whole numbers {says}, and not '{wrong}'" in capsys.readouterr().err
