"""The gate's part for the operator: nobody else submits a run, reads figures or revokes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.runtime import RuntimeHttpClient
from gated_home import admin, get, last_refusal
from open_files import open_to_others

from server.live.flower_cli import run_flwr
from server.live.flower_run import TaskLostError, submit_run
from server.live.home import ServerHome
from server.live.registry import Registry
from shared_models.bundle import bundle, bundle_hash
from shared_models.errors import ServiceError

pytestmark = pytest.mark.slow


def test_nobody_but_the_operator_submits_code(home: ServerHome) -> None:
    """What ``flwr run`` sends, and what a foreign SuperExec asks for."""
    ca = home.secret("ca.pem")
    run = StartRunRequest(fab=Fab(hash_str=bundle_hash(), content=bundle()))
    control = ControlHttpClient.from_server_address(home.settings().address, False, ca, [])
    runtime = RuntimeHttpClient.from_server_address(home.settings().address, False, ca, [])
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        control.StartRun(run)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        runtime.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))
    control.close()
    runtime.close()


def test_not_even_the_operator_submits_code(home: ServerHome) -> None:
    control = home.link().control()
    try:
        for content in (b"PK anything", bundle()[:-1], b""):
            with pytest.raises(TaskLostError, match="no run but FedVoice's own"):
                control.StartRun(StartRunRequest(fab=Fab(hash_str=bundle_hash(), content=content)))
            assert last_refusal(home)["kind"] == "foreign run"
    finally:
        control.close()


def test_flowers_own_command_works_beside_it(home: ServerHome, tmp_path: Path) -> None:
    """As ``docs/operator.md`` says: with the token through ``fedvoice serve flwr``, and not without."""

    def asked(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command], env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip

    def ours(*arguments: str) -> subprocess.CompletedProcess[str]:
        return asked("simulations.cli", "serve", "flwr", "--home", str(home.folder), *arguments)

    submit_run(home.link(), bundle(), bundle_hash())
    runs = ours("ls", "--format", "json")
    assert runs.returncode == 0, runs.stderr
    assert [run["fab-id"] for run in json.loads(runs.stdout)["runs"]] == ["fedvoice/fedvoice-live"]
    run = json.loads(runs.stdout)["runs"][0]["run-id"]
    nodes = ours("supernode", "list", "--format", "json")
    listed = [node for node in json.loads(nodes.stdout)["nodes"] if node["status"] != "unregistered"]
    assert {int(node["node-id"]) for node in listed} == set(Registry(home.registry).roster().values())
    assert ours("stop", str(run)).returncode == 0
    assert "finished:stopped" in ours("ls", "--format", "json").stdout
    with pytest.raises(ServiceError, match="has no place here"):
        run_flwr(home, ["run", "."])
    # Flower's command alone finds the server, and is turned away.
    (tmp_path / "config.toml").write_text(home.path("flwr/config.toml").read_text())
    alone = asked("flwr.cli.app", "ls", FLWR_HOME=str(tmp_path))
    assert alone.returncode != 0
    assert last_refusal(home)["kind"] == "not the operator"
    assert open_to_others(home.path("flwr")) == []


def test_metrics_and_status_are_the_operators(home: ServerHome) -> None:
    text = get(home, "/fedvoice/metrics", **admin(home)).text
    assert "# TYPE fedvoice_refusals_total counter" in text
    for line in text.splitlines():
        assert line.startswith("#") or line.rsplit(" ", 1)[1].replace(".", "").isdigit(), line
    data = get(home, "/fedvoice/status", **admin(home)).json()
    assert data["rounds"] == 0 or data["rounds"] == 3
