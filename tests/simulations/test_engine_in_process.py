"""The in-process grid: stock strategies, streaming, client state, errors."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from server.rounds import StreamingGrid
from shared_models import wire
from shared_models.errors import FedVoiceError
from simulations.engine.in_process import InProcessGrid

CLIENTS = 5


@pytest.fixture(scope="module")
def grid() -> Iterator[InProcessGrid]:
    with InProcessGrid(
        "engine_apps:app",
        clients=CLIENTS,
        workers=2,
        environment={"FEDVOICE_DEVICES": "/somewhere"},
        node_config={"site": "here"},
        run_config={"lr": 0.5},
    ) as opened:
        yield opened


def ask(grid: InProcessGrid, kind: str, content: RecordDict | None = None) -> list[Message]:
    return [grid.create_message(content or RecordDict(), kind, node, "group") for node in grid.get_node_ids()]


def answers(grid: InProcessGrid, kind: str) -> dict[int, Message]:
    return {reply.metadata.src_node_id: reply for reply in grid.send_and_receive(ask(grid, kind))}


def flat_content(vector: Tensor) -> RecordDict:
    array = Array("float32", tuple(vector.shape), wire.STYPE, vector.numpy().tobytes())
    return RecordDict({"shared": ArrayRecord({"shared": array})})


def flat_vector(reply: Message) -> Tensor:
    data = reply.content.array_records["shared"]["shared"].data
    return torch.from_numpy(np.frombuffer(data, dtype=np.float32).copy())


@pytest.mark.parametrize("size", [10, 200_000], ids=["through the socket", "through shared memory"])
def test_stock_fedavg_runs_unchanged(grid: InProcessGrid, size: int) -> None:
    start = np.linspace(0, 1, size, dtype=np.float32)
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=CLIENTS, min_train_nodes=CLIENTS)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord([start, start[:3]]), num_rounds=2)
    # Client k adds k + 1, so that the mean moves by 3 a round.
    np.testing.assert_allclose(result.arrays["0"].numpy(), start + 6, rtol=1e-6)
    np.testing.assert_allclose(result.arrays["1"].numpy(), start[:3] + 6, rtol=1e-6)


def test_replies_stream_in_as_they_arrive_and_none_is_lost(grid: InProcessGrid) -> None:
    weights = torch.randn(300_000, generator=torch.Generator().manual_seed(1))
    seen = {}
    for reply in grid.stream(ask(grid, "train.flat", flat_content(weights))):
        vector = flat_vector(reply)
        seen[reply.metadata.src_node_id - grid.get_node_ids()[0]] = vector.clone()
    assert sorted(seen) == list(range(CLIENTS))
    for partition, vector in seen.items():
        assert torch.equal(vector, weights * (1 + partition))


def test_the_next_rounds_weights_are_those_that_arrive(grid: InProcessGrid) -> None:
    for value in (1.0, 2.0, 3.0):
        total = torch.zeros(100_000)
        for reply in grid.stream(ask(grid, "train.flat", flat_content(torch.full((100_000,), value)))):
            total += flat_vector(reply)
        assert torch.equal(total, torch.full((100_000,), value * 15))


def test_messages_with_arrays_of_their_own_do_not_mix(grid: InProcessGrid) -> None:
    messages = [
        grid.create_message(flat_content(torch.full((50_000,), float(node))), "train.flat", node, "")
        for node in grid.get_node_ids()
    ]
    first = grid.get_node_ids()[0]
    for reply in grid.stream(messages):
        node = reply.metadata.src_node_id
        assert torch.equal(flat_vector(reply), torch.full((50_000,), float(node * (1 + node - first))))


def test_what_send_and_receive_returns_is_the_callers_to_keep(grid: InProcessGrid) -> None:
    replies = grid.send_and_receive(ask(grid, "train.flat", flat_content(torch.ones(100_000))))
    for reply in grid.send_and_receive(ask(grid, "train.flat", flat_content(torch.zeros(100_000)))):
        assert not flat_vector(reply).any()
    values = sorted(float(flat_vector(reply).unique()) for reply in replies)
    assert values == [1, 2, 3, 4, 5]


def test_a_stream_that_is_left_early_leaves_the_grid_usable(grid: InProcessGrid) -> None:
    for _ in range(4):
        for _ in grid.stream(ask(grid, "train.flat", flat_content(torch.ones(50_000)))):
            break
    assert len(answers(grid, "query.count")) == CLIENTS


def test_client_state_lasts_from_message_to_message(grid: InProcessGrid) -> None:
    first = {node: reply.content["answer"]["n"] for node, reply in answers(grid, "query.count").items()}
    for times in (1, 2, 3):
        again = {node: reply.content["answer"]["n"] for node, reply in answers(grid, "query.count").items()}
        assert again == {node: count + times for node, count in first.items()}


def test_a_client_is_told_its_partition_and_its_surroundings(grid: InProcessGrid) -> None:
    for node, reply in answers(grid, "query.count").items():
        told = reply.content["answer"]
        assert told["partition-id"] == node - grid.get_node_ids()[0]
        assert told["num-partitions"] == CLIENTS
        assert (told["site"], told["lr"], told["environment"]) == ("here", 0.5, "/somewhere")
        assert told["threads"] == 1
        assert told["process"] in grid.process_ids


def test_pushed_messages_are_pulled_when_they_are_answered(grid: InProcessGrid) -> None:
    numbers = grid.push_messages(ask(grid, "train.flat", flat_content(torch.ones(50_000))))
    # Another conversation in between does not lose them.
    assert len(answers(grid, "query.count")) == CLIENTS
    pulled: dict[str, Message] = {}
    deadline = time.monotonic() + 30
    while len(pulled) < CLIENTS and time.monotonic() < deadline:
        for reply in grid.pull_messages(numbers):
            pulled[reply.metadata.reply_to_message_id] = reply
        time.sleep(0.01)
    assert set(pulled) == set(numbers)
    assert sorted(float(flat_vector(reply)[0]) for reply in pulled.values()) == [1, 2, 3, 4, 5]
    assert grid.pull_messages(numbers) == []


def test_what_a_client_raises_becomes_its_reply(grid: InProcessGrid) -> None:
    first = grid.get_node_ids()[0]
    replies = answers(grid, "query.fail")
    assert [replies[first + k].has_error() for k in range(CLIENTS)] == [True, True, True, False, False]
    assert replies[first].error.reason == "ZeroDivisionError: a bug"
    assert replies[first + 1].error.reason == "no recordings"
    assert "NoneType" in (replies[first + 2].error.reason or "")
    unknown = answers(grid, "query.nothing_of_that_name")
    assert all(reply.has_error() for reply in unknown.values())


def test_replies_that_come_too_late_are_left_out(grid: InProcessGrid) -> None:
    slow = RecordDict({"config": ConfigRecord({"seconds": 1.5})})
    started = time.monotonic()
    assert grid.send_and_receive(ask(grid, "query.sleep", slow), timeout=0.2) == []
    assert time.monotonic() - started < 1.0
    assert len(answers(grid, "query.count")) == CLIENTS


def test_a_node_that_does_not_exist_is_a_bug(grid: InProcessGrid) -> None:
    with pytest.raises(ValueError, match="no node 999 among 5 clients"):
        grid.push_messages([grid.create_message(RecordDict(), "query.count", 999, "")])


def test_it_is_a_grid_that_streams(grid: InProcessGrid) -> None:
    assert isinstance(grid, Grid)
    assert isinstance(grid, StreamingGrid)
    assert [node.node_id for node in grid.get_nodes()] == grid.get_node_ids()


def test_progress_counts_replies() -> None:
    told: list[tuple[int, int]] = []
    with InProcessGrid(
        "engine_apps:app", clients=3, workers=1, progress=lambda done, total: told.append((done, total))
    ) as grid:
        grid.send_and_receive(ask(grid, "query.count"))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_workers_do_not_draw_alike_unless_they_are_seeded(grid: InProcessGrid) -> None:
    slow = RecordDict({"config": ConfigRecord({"seconds": 0.1})})
    drawn: dict[int, set[tuple[float, float, float]]] = {}
    for reply in grid.send_and_receive(ask(grid, "query.draw", slow)):
        told = reply.content["drawn"]
        drawn.setdefault(told["process"], set()).add((told["python"], told["numpy"], told["torch"]))
    assert len(drawn) == 2
    first, second = drawn.values()
    for kind in range(3):
        assert not {draw[kind] for draw in first} & {draw[kind] for draw in second}


@pytest.mark.parametrize(
    ("reference", "reason"),
    [("no_such_module:app", "no_such_module"), ("engine_apps:train", "names no ClientApp")],
)
def test_an_app_that_cannot_be_imported_is_one_error(reference: str, reason: str) -> None:
    with (
        InProcessGrid(reference, clients=2, workers=1) as grid,
        pytest.raises(FedVoiceError, match=reason),
    ):
        grid.send_and_receive(ask(grid, "query.count"))
