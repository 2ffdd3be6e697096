"""Clients that do not train: what is left is the engine's own cost.

A client takes the weights and answers with an update that is random, other for every client and round, and
depends on every weight. Constant arrays would be sent once and flatter an engine that recognises repeats.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from shared_models import wire
from shared_models.partition import Owner, PartitionedModel
from shared_models.seeds import derive_seed, generator

_BLOCK = 1 << 18
_SCALE = 1e-2


class Unformed(nn.Module):
    """A model of so many parameters that take no memory: it is only ever described, and not computed with."""

    belongs_to = Owner.SHARED

    def __init__(self, parameters: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(parameters, device="meta"))


app = ClientApp()


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Say which member this client is."""
    member = int(context.node_config["partition-id"])
    return Message(RecordDict({"hello": ConfigRecord({"member": member})}), reply_to=message)


@app.train()
def answer(message: Message, context: Context) -> Message:
    """Reply with noise and a little of the weights, without training."""
    header, buffer = pieces(message.content)
    model = _model(int(header["size"]))
    weights = wire.decode(header, buffer, model.partition, kind="weights")
    vector = wire.outgoing_vector(model.partition.size)
    _fill(vector, weights.vector, derive_seed(weights.round, int(context.node_config["partition-id"])))
    update = wire.Update(model.partition.schema, weights.round, vector)
    return Message(content(*wire.encode(model, update)), reply_to=message)


def content(header: wire.Header, buffer: wire.Buffer) -> RecordDict:
    """Header and buffer as the records of a message."""
    array = Array("float32", (int(header["size"]),), wire.STYPE, b"")
    # Assigned, since Array's constructor takes no memoryview.
    array.data = buffer  # type: ignore[assignment]
    shared = ArrayRecord()
    shared["shared"] = array
    return RecordDict({"header": ConfigRecord(dict(header)), "shared": shared})


def pieces(records: RecordDict) -> tuple[dict[str, Any], wire.Buffer]:
    """Header and buffer that a message carries."""
    return dict(records.config_records["header"]), records.array_records["shared"]["shared"].data


def _fill(out: Tensor, weights: Tensor, seed: int) -> None:
    """Random numbers at the speed of memory: one block of them, begun elsewhere for every client."""
    noise = _noise()
    start, share = seed % _BLOCK, -(seed // _BLOCK % 1000) / 100_000
    for begin in range(0, out.numel(), _BLOCK):
        piece = out[begin : begin + _BLOCK]
        torch.add(
            noise[start : start + piece.numel()], weights[begin : begin + _BLOCK], alpha=share, out=piece
        )


@lru_cache(maxsize=1)
def _noise() -> Tensor:
    return torch.randn(2 * _BLOCK, generator=generator("noise")).mul_(_SCALE)


@lru_cache(maxsize=1)
def _model(parameters: int) -> PartitionedModel[Unformed]:
    return PartitionedModel(Unformed(parameters))
