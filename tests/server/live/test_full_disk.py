"""A server whose disk is full says so, names the folder, shows no traceback, and goes on when there is space."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_device import FakeDevice, enrol, new_key, running
from live_home import invited, make_home
from tiny_federation import tiny_recipe

from server.live.journal import read_rounds, read_standing
from server.live.supervisor import Supervisor, View, healthy
from shared_models.supervision import BackOff

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("SKIPPED FOR LACK OF RIGHTS: a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_server_on_a_full_disk_says_so_and_goes_on_when_there_is_space(small_disk: Path) -> None:
    recipe = tiny_recipe(federation__rounds=4, federation__cohort=1, federation__quorum=1)
    home = make_home(small_disk / "home", recipe, 1)
    views: list[View] = []
    supervisor = Supervisor(home, views.append, back_off=BackOff(0.2, 1.0))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        _until(lambda: healthy(home))
        key = new_key()
        member = enrol(invited(home), key, home.path("ca.pem")).json()["member"]
        device = FakeDevice(home.settings().address, home.path("ca.pem"), key, member, poll_seconds=1.0)
        with running([device]):
            _until(lambda: read_standing(home.folder).round >= 1)
            with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(4096))
            _until(lambda: "is full (0.0 MB free" in views[-1].trouble)
            assert str(home.folder) in views[-1].trouble
            time.sleep(4)
            (small_disk / "ballast").unlink()
            _until(lambda: not thread.is_alive())
    finally:
        supervisor.stop()
        thread.join(60)
    assert "full" not in views[-1].trouble
    standing = read_standing(home.folder)
    assert (standing.state, standing.problem) == ("done", "")
    assert [line["round"] for line in read_rounds(home.folder)] == [1, 2, 3, 4]
    log = (home.log_folder / "federation.log").read_text()
    assert "Traceback" not in log, log[-3000:]
