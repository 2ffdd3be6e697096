"""A federation without training, on any engine: a server that only adds up what its clients send."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp
from torch import Tensor

from server.aggregation import StreamingSum
from server.exchange import replies
from server.rosters import meet_clients
from server.validation import validate_update
from shared_models import wire
from shared_models.errors import FedVoiceError
from shared_models.partition import Partition
from shared_models.seeds import generator
from simulations.benchmarks.idle_clients import Unformed, content, pieces

CLIENT_APP = "simulations.benchmarks.idle_clients:app"
_JOIN_SECONDS = 300.0
_REPLY_SECONDS = 1800.0


@dataclass(slots=True)
class Measured:
    """What the server saw."""

    seconds: list[float] = field(default_factory=list)
    """Of each round."""
    weights: Tensor = field(default_factory=lambda: torch.empty(0))
    """``(D,)``, after the last round."""


def make_server(clients: int, parameters: int, rounds: int, measured: Measured) -> ServerApp:
    """A server that adds up every client's update in every round, and writes down how long that took."""
    server = ServerApp()

    @server.main()
    def main(grid: Grid, _: Context) -> None:
        partition = Partition.of(Unformed(parameters))
        weights = torch.randn(parameters, generator=generator("idle federation")).mul_(0.01)
        nodes = meet_clients(grid, clients, _JOIN_SECONDS)
        for number in range(1, rounds + 1):
            started = time.monotonic()
            _round(grid, partition, weights, number, [nodes[index] for index in range(clients)])
            measured.seconds.append(time.monotonic() - started)
        measured.weights = weights

    return server


def _round(grid: Grid, partition: Partition, weights: Tensor, number: int, nodes: list[int]) -> None:
    weights_sent = content(*wire.encode_weights(wire.Weights(partition.schema, number, weights)))
    messages = [
        Message(weights_sent, dst_node_id=node, message_type="train", group_id=str(number)) for node in nodes
    ]
    total = StreamingSum(partition.size)
    for reply in replies(grid, messages, _REPLY_SECONDS):
        if reply.has_error():
            raise FedVoiceError(f"a client of the benchmark failed: {reply.error.reason}")
        header, buffer = pieces(reply.content)
        update = wire.decode(header, buffer, partition, kind="update", round=number)
        validate_update(update.vector, partition.size, None)
        total.add(update.vector)
    if total.count != len(nodes):
        raise FedVoiceError(
            f"{total.count} of {len(nodes)} clients of the benchmark answered in round {number}"
        )
    weights += total.mean(total.count)
