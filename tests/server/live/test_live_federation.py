"""Whole federations over TLS with real processes, some of which are killed, against what must come out."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from fake_device import FakeDevice, GoneError, enrol, new_key, running, update_of
from flwr.app import Message
from live_home import invited, make_home
from tiny_federation import tiny_recipe

from server.app import plan_for
from server.checkpoints import latest_checkpoint
from server.live.federation import live_plan
from server.live.home import ServerHome
from server.live.journal import read_rounds, read_standing
from server.live.supervisor import Supervisor, healthy
from server.optimizers import build_server_optimizer
from shared_models.errors import ServiceError
from shared_models.supervision import BackOff

pytestmark = pytest.mark.slow

DEVICES = 2
PATIENCE = 240.0
QUICK = BackOff(first_seconds=0.2, most_seconds=1.0)


def _home(folder: Path, rounds: int) -> ServerHome:
    recipe = tiny_recipe(federation__rounds=rounds, federation__cohort=DEVICES, federation__quorum=DEVICES)
    return make_home(folder / "home", recipe, DEVICES)


@contextlib.contextmanager
def _served(home: ServerHome) -> Iterator[Supervisor]:
    """A supervisor in the main thread's stead, whose end is waited for."""
    supervisor = Supervisor(home, back_off=QUICK)
    problems: list[BaseException] = []

    def serve() -> None:
        try:
            supervisor.run()
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield supervisor
        thread.join(PATIENCE)
        assert not thread.is_alive(), read_standing(home.folder)
    finally:
        supervisor.stop()
        thread.join(60)
    assert not problems, problems
    # By the home: other tests of this process may share a SuperLink of their own that is meant to go on.
    assert not [p for p in psutil.Process().children(recursive=True) if str(home.folder) in p.cmdline()]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def _join(home: ServerHome, before_reply: Callable[[Message], None] | None = None) -> FakeDevice:
    _until(lambda: healthy(home))
    key = new_key()
    answer = enrol(invited(home), key, home.path("ca.pem"))
    assert answer.status_code == 200, answer.text
    address, member = home.settings().address, answer.json()["member"]
    return FakeDevice(address, home.path("ca.pem"), key, member, before_reply=before_reply)


def _expected(home: ServerHome) -> torch.Tensor:
    """What the recipe's server optimizer makes of the means of what the fake devices send."""
    plan = live_plan(home)
    weights = plan.initial.clone()
    optimizer = build_server_optimizer(plan.recipe.federation, plan.partition.size)
    for number in range(1, plan.recipe.federation.rounds + 1):
        updates = [update_of(partition, number, plan.partition.size) for partition in range(DEVICES)]
        weights = optimizer.step(weights, torch.stack(updates).double().mean(0).float())
    return weights


def _final(home: ServerHome) -> torch.Tensor:
    checkpoint = latest_checkpoint(home.checkpoints)
    assert checkpoint is not None
    assert checkpoint.round == home.recipe().federation.rounds
    return checkpoint.weights


def test_killed_superlink_and_federation_change_nothing(tmp_path: Path) -> None:
    home = _home(tmp_path, rounds=6)
    with _served(home) as supervisor, running([_join(home) for _ in range(DEVICES)]):
        _until(lambda: read_standing(home.folder).round >= 1)
        assert supervisor.superlink.pid is not None
        os.kill(supervisor.superlink.pid, signal.SIGKILL)
        _until(lambda: supervisor.superlink.restarts == 1)
        _until(lambda: read_standing(home.folder).round >= 3)
        pid = supervisor.federation.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        _until(lambda: read_standing(home.folder).state == "done")
        assert supervisor.superlink.restarts == 1
    torch.testing.assert_close(_final(home), _expected(home), rtol=0, atol=1e-6)


def test_rounds_over_tls_come_out_right_and_a_device_that_dies_with_its_message_is_asked_again(
    tmp_path: Path,
) -> None:
    home = _home(tmp_path, rounds=3)
    home.path("gate.json").write_text('{"takeover_seconds": 1.0}')
    died: list[int] = []

    def die_once(_: Message) -> None:
        if not died:
            died.append(1)
            # Longer than the gate takes a silent process for alive: the next one is let in, and counts as new.
            time.sleep(1.5)
            raise GoneError("killed")

    with _served(home):
        with running([_join(home, die_once), _join(home)]) as devices:
            _until(lambda: read_standing(home.folder).state == "done")
        assert [device.trained for device in devices] == [[1, 2, 3]] * DEVICES
    assert read_standing(home.folder).resent == 1
    rounds = read_rounds(home.folder)
    assert [line["clients"] for line in rounds] == [DEVICES] * 3
    print("seconds a round:", [round(line["seconds"], 2) for line in rounds])
    torch.testing.assert_close(_final(home), _expected(home), rtol=0, atol=1e-6)


def test_a_second_server_and_a_used_port_are_refused(tmp_path: Path) -> None:
    home = _home(tmp_path / "a", rounds=1)
    with home.lock(), pytest.raises(ServiceError, match="running"):
        # Another process's lock looks the same: flock is of the open file.
        Supervisor(home).run()
    assert home.running() is None
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = make_home(tmp_path / "b", tiny_recipe(), 1, port=taken.getsockname()[1])
        with pytest.raises(ServiceError, match="cannot listen"):
            Supervisor(other).run()


def test_the_plan_of_a_home_is_its_recipes(tmp_path: Path) -> None:
    home = _home(tmp_path, rounds=1)
    plan = plan_for(home.recipe(), home.checkpoints, "test", DEVICES)
    assert torch.equal(live_plan(home).initial, plan.initial)
