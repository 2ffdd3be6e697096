"""Who has no business in a federation, or means it ill, against a real server and real devices."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import torch
from fake_device import FakeDevice, enrol, new_key, pem_of, running, update_of
from flwr.app import Message
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from live_rehearsals import PATIENCE, federation_of, tiny_plan

from client.home.policy import Policy
from server.live.setup import invite
from simulations.rehearsal.command_process import CommandProcess
from simulations.rehearsal.comparison import compare, simulate_the_same
from simulations.rehearsal.live_federation import LiveFederation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Answer = Callable[["Hostile", Any, Message], None]


class Hostile(FakeDevice):
    """Enrolled with a code like anybody else; ``way`` says how it answers."""

    way: Answer
    attempts: ClassVar[dict[Any, Any]] = {}
    """The attempt that each round was first asked in."""

    def answer(self, client: Any, message: Message, vector: torch.Tensor | None = None) -> None:
        if vector is None:
            type(self).way(self, client, message)
        else:
            super().answer(client, message, vector)


def _size(message: Message) -> int:
    return int(str(message.content.config_records["header"]["size"]))


def _nan(device: Hostile, client: Any, message: Message) -> None:
    vector = update_of(1, 1, _size(message))
    vector[7] = float("nan")
    device.answer(client, message, vector)


def _shape(device: Hostile, client: Any, message: Message) -> None:
    device.answer(client, message, torch.zeros(_size(message) + 4))


def _norm(device: Hostile, client: Any, message: Message) -> None:
    vector = torch.ones(_size(message))
    device.answer(client, message, 100 * LARGEST_NORM * vector / vector.norm())


def _replay(device: Hostile, client: Any, message: Message) -> None:
    # Whatever is asked, it answers as if the round were still the one before.
    header = message.content.config_records["header"]
    asked = dict(header)
    header["round"] = int(str(asked["round"])) - 1
    header["attempt"] = device.attempts.get(header["round"], asked["attempt"])
    device.attempts[asked["round"]] = asked["attempt"]
    device.answer(client, message, torch.zeros(_size(message)))


WAYS = {"nan": _nan, "shape": _shape, "norm": _norm, "replay": _replay}
LARGEST_NORM = 50.0


def _hostile(live: LiveFederation, way: Answer) -> Hostile:
    (code,) = invite(live.home, 1, 600.0)
    ca, key = live.home.path("ca.pem"), new_key()
    answer = enrol(code, key, ca)
    assert answer.status_code == 200, answer.text
    kind = type("Hostile", (Hostile,), {"way": staticmethod(way)})
    found: Hostile = kind(code.address, ca, key, answer.json()["member"])
    return found


def _refusals(live: LiveFederation) -> list[dict[str, Any]]:
    path = live.home.path("refusals.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.1)
    return value


def test_hostile_devices_are_dropped_by_name_and_change_no_bit(tmp_path: Path) -> None:
    population = 1 + len(WAYS)
    plan = tiny_plan(1, 2, federation__largest_norm=LARGEST_NORM)
    plan.serve_options.extend(["--population", str(population)])
    for name in ("cohort", "quorum"):
        plan.serve_options.extend(["--set", f"federation.{name}={population}"])
    with federation_of(plan, tmp_path) as live:
        live.serve()
        live.join_all()
        enrolled = [_hostile(live, way) for way in WAYS.values()]
        # Whoever sends more than the model has is turned away before Flower sees it.
        with enrolled[0].client() as client:
            node = client.ActivateNode(
                ActivateNodeRequest(public_key=pem_of(enrolled[0]._key).encode(), heartbeat_interval=30.0)
            ).node_id
            much = PushObjectRequest(
                node=Node(node_id=node), run_id=1, object_id="x", object_content=bytes(7 << 20)
            )
            with pytest.raises(httpx.HTTPStatusError, match="413"):
                client.PushObject(much)
            client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        assert _refusals(live)[-1]["kind"] == "too large"
        with running(list(enrolled)):
            live.watch(seconds=PATIENCE)
    told = [line["dropped_devices"] for line in live.rounds()]
    print(told)
    for names, wrong in (
        ("1", ("NaN",)),
        ("2", ("where this size takes",)),
        ("3", ("norm",)),
    ):
        assert all(any(word in dropped[names] for word in wrong) for dropped in told), told
    for number, dropped in enumerate(told, start=1):
        assert f"round {number - 1} where this side has {number}" in dropped["4"], told
    assert [line["clients"] for line in live.rounds()] == [1, 1]
    # The honest device among them is the whole of the federation.
    simulated = simulate_the_same(tmp_path / "simulation", plan.recipe, plan.prepared)
    found = compare(live.home.checkpoints, [live.device_home(0)], live.home.settings().run, simulated, 2)
    assert found.equal, found


def test_a_copied_home_is_refused_while_the_first_runs_and_a_revoked_device_for_good(tmp_path: Path) -> None:
    plan = tiny_plan(1, 1)
    plan.serve_options.extend(
        ["--population", "2", "--set", "federation.cohort=2", "--set", "federation.quorum=2"]
    )
    with federation_of(plan, tmp_path) as live:
        live.serve()
        live.join_all()
        _until(lambda: live.view().online == 1, "the device comes online")
        copied = tmp_path / "copy"
        shutil.copytree(live.device_home(0), copied, ignore=shutil.ignore_patterns("join.lock"))
        thief = CommandProcess(
            ["join", "--home", str(copied), "--json"], tmp_path / "thief.log", {"OMP_NUM_THREADS": "1"}
        )
        thief.start()
        try:
            said = _until(lambda: _problem(copied), "the copy is refused")
        finally:
            assert thief.stop() == []
        print("copy:", said)
        assert "key in use" in {refusal["kind"] for refusal in _refusals(live)}
        assert live.device_status(0)["state"] in ("waiting", "training"), "the first is not disturbed"
        revoke = CommandProcess(
            ["serve", "revoke", "0", "--home", str(live.home.folder)], tmp_path / "revoke.log"
        )
        revoke.start()
        _until(lambda: not revoke.running, "the operator revokes")
        _until(lambda: "revoked" in str(live.device_status(0).get("problem")), "the device is told")
        assert _refusals(live)[-1]["kind"] == "revoked device"


def _problem(home: Path) -> str:
    try:
        return str(json.loads((home / "status.json").read_text()).get("problem") or "")
    except (OSError, ValueError):
        return ""


@pytest.mark.parametrize(
    ("changes", "policy", "reason"),
    [
        ({"federation__algorithm": "full"}, Policy(modes=("none",)), "policy allowed_shared"),
        ({}, Policy(), "policy modes"),
        (
            {"privacy__mode": "central", "privacy__noise_multiplier": 0.05, "federation__rounds": 1},
            Policy(epsilon_per_run=1e6, total_epsilon=1e6, minimum_batch=1),
            "policy minimum_noise_multiplier",
        ),
    ],
    ids=["personal parameters", "zero noise", "too little noise"],
)
def test_a_server_that_asks_for_too_much_gets_nothing_and_survives_it(
    tmp_path: Path, changes: dict[str, Any], policy: Policy, reason: str
) -> None:
    plan = tiny_plan(1, 1, **changes)
    live = federation_of(plan, tmp_path)
    live._policy = policy
    with live:
        live.serve()
        live.join_all()
        found = _until(lambda: reason in _told(live), "the server reports the reason")
        assert found
        assert live.server.running or plan.recipe.privacy.mode == "central"
        _until(lambda: reason in str(live.device_status(0).get("refusal", "")), "the owner reads it")
    home = live.device_home(0)
    assert not list(home.glob("personal/*/*")), "trained though declined"
    # The error itself, and no update.
    assert live.device_status(0).get("sent", 0) < 2000
    assert "last_round" not in live.device_status(0)


def _told(live: LiveFederation) -> str:
    """What the operator reads: the present state, and the finished rounds."""
    return live.standing().problem + json.dumps(live.rounds())
