"""``fedvoice serve`` and ``fedvoice invite`` as their operator types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from fake_device import FakeDevice, enrol, new_key, running
from live_home import free_port
from tiny_federation import tiny_overrides
from typed_command import Typed

from server.live.home import ServerHome
from server.live.journal import read_standing
from server.live.supervisor import healthy
from shared_models.join_code import JoinCode

PATIENCE = 240.0


@pytest.fixture
def fedvoice(capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(capsys)


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _until_healthy(home: ServerHome, server: subprocess.Popen[str]) -> None:
    def reached() -> bool:
        assert server.poll() is None
        return home.exists and healthy(home)

    _until(reached)


@pytest.mark.slow
def test_an_operators_day(tmp_path: Path, fedvoice: Typed) -> None:
    folder = str(tmp_path / "home")
    home = ServerHome.at(Path(folder))
    nothing = fedvoice("serve", "--home", folder)
    assert nothing.returncode == 2
    assert "--recipe NAME --address HOST:PORT" in nothing.stderr

    first = [
        "--recipe", "default", "--address", f"127.0.0.1:{free_port()}", "--population", "3", "--quorum", "2",
        "--force", *tiny_overrides(federation__rounds=3, federation__cohort=3),
    ]  # fmt: skip
    command = [sys.executable, "-m", "simulations.cli", "serve", "--home", folder]
    server = subprocess.Popen([*command, *first], stderr=subprocess.PIPE, text=True)
    try:
        _until_healthy(home, server)
        assert "a server is running" in fedvoice("serve", "--home", folder).stderr
        codes = json.loads(fedvoice("invite", "--home", folder, "--count", "3", "--json").stdout)
        devices = []
        for code in codes:
            key = new_key()
            answer = enrol(JoinCode.parse(code["code"]), key, home.path("ca.pem"))
            address, place = home.settings().address, answer.json()["member"]
            devices.append(FakeDevice(address, home.path("ca.pem"), key, place))
        assert fedvoice("serve", "revoke", "2", "--home", folder).returncode == 0
        listed = json.loads(fedvoice("serve", "devices", "--home", folder, "--json").stdout)
        assert [d["state"] for d in listed] == ["active", "active", "revoked"]
        # The federation's own process begins after the SuperLink's.
        _until(lambda: read_standing(home.folder).rounds == 3)
        status = json.loads(fedvoice("serve", "status", "--home", folder, "--json").stdout)
        assert (status["up"], status["rounds"], status["devices"]["active"]) == (True, 3, 2)

        # Stopped before it is done, and again by a kill that gives it no chance; each time it goes on.
        assert "stopped" in fedvoice("serve", "stop", "--home", folder).stderr
        assert server.wait(60) == 0
        assert fedvoice("serve", "status", "--home", folder).returncode == 1
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        _until_healthy(home, server)
        children = psutil.Process(server.pid).children(recursive=True)
        os.kill(server.pid, signal.SIGKILL)
        server.wait(60)
        gone, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, "a killed supervisor's children outlived it"
        assert gone
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        _until_healthy(home, server)
        with running(devices[:2]):
            assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.wait()
    rounds = json.loads(fedvoice("serve", "rounds", "--home", folder, "--json").stdout)
    assert [line["round"] for line in rounds] == [1, 2, 3]
    assert {line["protection"] for line in rounds} == {"unprotected"}
    assert {line["epsilon"] for line in rounds} == {None}
    table = fedvoice("serve", "rounds", "--home", folder).stdout
    assert table.count("unprotected") == 3
    status = json.loads(fedvoice("serve", "status", "--home", folder, "--json").stdout)
    assert (status["protection"], status["epsilon"]) == ("unprotected", None)
    assert "unprotected" in fedvoice("serve", "status", "--home", folder).stdout
    changed = fedvoice("serve", "--home", folder, "--set", "client.outer_lr=0.5")
    assert changed.returncode == 2
    assert "cannot change" in changed.stderr
    fewer = fedvoice("serve", "--home", folder, "--set", "federation.rounds=2")
    assert fewer.returncode == 2
    assert "3 rounds are done" in fewer.stderr


def test_units_are_printed_and_nothing_is_made(tmp_path: Path, fedvoice: Typed) -> None:
    folder = tmp_path / "home"
    unit = fedvoice("serve", "--home", str(folder), "--print-systemd").stdout
    assert f"serve --home {folder} --stay" in unit
    assert "FROM docker.io/library/python" in fedvoice("serve", "--print-containerfile").stdout
    assert not folder.exists()
    assert "30m, 24h or 7d" in fedvoice("invite", "--home", str(folder), "--expires", "soon").stderr
