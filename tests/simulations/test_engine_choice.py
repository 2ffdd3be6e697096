"""The same apps on either engine: equal weights, errors that come through, a benchmark that compares."""

from __future__ import annotations

import json
import os
from typing import Literal

import pytest
import torch
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from typer.testing import CliRunner

from shared_models import accelerator
from shared_models.config import EngineConfig
from shared_models.errors import CorpusError, RecipeError
from simulations.benchmarks.engine import Measurement, compare
from simulations.benchmarks.idle_federation import CLIENT_APP, Measured, make_server
from simulations.benchmarks.training_federation import repeated
from simulations.commands import bench
from simulations.engine import run_federation
from simulations.engine.flower import gpu_share


def run_idle(
    clients: int, rounds: int, workers: int, kind: Literal["process", "ray"] = "process"
) -> Measured:
    measured = Measured()
    server = make_server(clients, 100_000, rounds, measured)
    run_federation(server, CLIENT_APP, engine=EngineConfig(kind=kind, workers=workers), clients=clients)
    return measured


def test_the_number_of_workers_changes_no_weight() -> None:
    one, three = run_idle(7, 2, workers=1), run_idle(7, 2, workers=3)
    assert len(one.seconds) == 2
    assert torch.equal(one.weights, three.weights)
    assert one.weights.std() > 0


def test_every_client_and_round_matters_to_the_benchmarks_weights() -> None:
    weights = [run_idle(clients, rounds, workers=1).weights for clients, rounds in ((3, 1), (4, 1), (3, 2))]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_the_server_raises_is_raised_here() -> None:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        raise CorpusError(f"none of {len(list(grid.get_node_ids()))} clients in run {context.run_id}")

    with pytest.raises(CorpusError, match="none of 2 clients"):
        run_federation(server, CLIENT_APP, engine=EngineConfig(), clients=2)


@pytest.mark.slow
def test_flowers_engine_gives_the_same_weights_and_passes_the_environment_on() -> None:
    ours = run_idle(5, 2, workers=2)
    told: list[str] = []
    theirs = Measured()
    idle = make_server(5, 100_000, 2, theirs)
    run_federation(idle, CLIENT_APP, engine=EngineConfig(kind="ray", workers=2), clients=5)
    assert torch.equal(ours.weights, theirs.weights)

    server = ServerApp()

    @server.main()
    def main(grid: Grid, _: Context) -> None:
        while len(nodes := list(grid.get_node_ids())) < 2:
            pass
        asked = [Message(RecordDict(), node, "query.count") for node in nodes]
        told.extend(
            str(r.content.config_records["answer"]["environment"]) for r in grid.send_and_receive(asked)
        )

    before = dict(os.environ)
    run_federation(
        server,
        "engine_apps:app",
        engine=EngineConfig(kind="ray", workers=1),
        clients=2,
        environment={"FEDVOICE_DEVICES": "/devices"},
    )
    assert told == ["/devices"] * 2
    assert os.environ.get("FEDVOICE_DEVICES") == before.get("FEDVOICE_DEVICES")


@pytest.mark.slow
def test_the_benchmark_measures_and_compares() -> None:
    found = compare(["process"], clients=3, rounds=2, parameters=200_000)
    (measured,) = found.measurements
    assert isinstance(measured, Measurement)
    assert measured.seconds == measured.round_seconds[0] > 0
    assert measured.peak_memory_bytes > 100e6
    assert found.largest_difference is None


def test_the_command_prints_json() -> None:
    arguments = ["engine", "--clients", "2", "--parameters", "1000", "--rounds", "1", "--engine", "process"]
    done = CliRunner().invoke(bench.app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    (comparison,) = printed["comparisons"]
    assert comparison["clients"] == 2
    assert comparison["measurements"][0]["engine"] == "process"
    assert printed["machine"]["cores"] >= 1


@pytest.mark.parametrize("clients", ["", "ten", "0", "3,,4"])
def test_numbers_of_clients_that_are_none_are_refused(clients: str) -> None:
    done = CliRunner().invoke(bench.app, ["engine", "--clients", clients])
    assert isinstance(done.exception, RecipeError)
    assert "--clients" in str(done.exception)


def test_more_clients_than_speakers_share_recordings() -> None:
    shared = repeated({"a": ["one"], "b": ["two"]}, 5)  # type: ignore[dict-item, list-item]
    assert len(shared) == 5
    assert [recordings[0] for recordings in shared.values()] == ["one", "two", "one", "two", "one"]


@pytest.mark.parametrize(("workers", "share"), [(1, 1.0), (3, 0.3333), (7, 0.1428)])
def test_rays_clients_share_a_gpu_and_ask_for_none_without(
    workers: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_share("cpu", workers) == 0.0
    here = [torch.device("cuda", 0), torch.device("cpu")]
    monkeypatch.setattr(accelerator, "devices_here", lambda: here)
    assert gpu_share("auto", workers) == share
    assert workers * share <= 1
