"""Children are started again, reaped, and never outlive their supervisor; with real processes and signals."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shared_models.supervision import BackOff, Child, last_lines

PATIENCE = 60.0
QUICK = BackOff(first_seconds=0.05, most_seconds=0.2, well_after_seconds=60.0)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def _child(folder: Path, code: str) -> Child:
    return Child("test", [sys.executable, "-c", code], folder / "logs" / "test.log", back_off=QUICK)


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_pauses_double_up_to_a_limit_and_half_is_chance() -> None:
    rng = random.Random(1)
    back_off = BackOff(first_seconds=1.0, most_seconds=10.0)
    for failures, full in ((1, 1.0), (2, 2.0), (4, 8.0), (5, 10.0), (500, 10.0)):
        pauses = [back_off.pause(failures, rng) for _ in range(200)]
        assert full / 2 <= min(pauses) < max(pauses) <= full


def test_what_ends_is_started_again_and_its_exit_is_known(tmp_path: Path) -> None:
    child = _child(tmp_path, "print('hello'); raise SystemExit(3)")
    assert child.tend()
    _until(lambda: child.ended() is not None)
    assert child.exit_code == 3
    assert child.waits_seconds > 0
    _until(child.tend)
    assert (child.restarts, child.failures) == (1, 1)
    _until(lambda: not child.running)
    child.kill()
    assert last_lines(child.log, 1) == ["hello"]


def test_stop_asks_first_and_then_kills(tmp_path: Path) -> None:
    polite = _child(tmp_path, "import time\nprint('up', flush=True)\ntime.sleep(600)")
    stubborn = _child(
        tmp_path / "b",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)",
    )
    for child, code in ((polite, -signal.SIGTERM), (stubborn, -signal.SIGKILL)):
        child.start()
        _until(lambda child=child: last_lines(child.log) == ["up"])  # type: ignore[misc]
        child.stop(grace_seconds=1.0)
        assert child.exit_code == code
        assert not child.running


def test_what_a_child_started_goes_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(p.pid, flush=True)\np.wait()"
    )
    child = _child(tmp_path, code)
    child.start()
    _until(lambda: bool(last_lines(child.log)))
    grandchild = int(last_lines(child.log)[0])
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    _until(lambda: child.ended() is not None)
    _until(lambda: _gone(grandchild))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_child_dies_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    inner = (
        "import time\nfrom shared_models.supervision import die_with_parent\n"
        "die_with_parent()\nprint('up', flush=True)\ntime.sleep(600)"
    )
    outer = (
        "import sys, time\nfrom pathlib import Path\nfrom shared_models.supervision import Child\n"
        f"c = Child('c', [sys.executable, '-c', {inner!r}], Path({str(tmp_path / 'c.log')!r}))\n"
        "c.start()\nprint(c.pid, flush=True)\ntime.sleep(600)"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    try:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        _until(lambda: last_lines(tmp_path / "c.log") == ["up"])
    finally:
        supervisor.kill()
        supervisor.wait()
    _until(lambda: _gone(pid))


def test_a_long_log_is_set_aside(tmp_path: Path) -> None:
    child = _child(tmp_path, "print('new')")
    child.log.parent.mkdir()
    with child.log.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    child.start()
    _until(lambda: child.ended() is not None)
    assert child.log.stat().st_size < 100
    assert child.log.with_name("test.log.1").exists()
