"""ClientApps that the engine's tests run in worker processes."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from shared_models import wire
from shared_models.errors import CorpusError

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Stock Flower: add the partition's number plus one to every weight."""
    step = 1.0 + float(context.node_config["partition-id"])
    arrays = ArrayRecord(
        {k: Array(v.numpy() + np.float32(step)) for k, v in message.content["arrays"].items()}
    )
    return Message(
        RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message
    )


@app.train("flat")
def flat(message: Message, context: Context) -> Message:
    """Our own layout: an update that is the weights scaled by the partition's number plus one."""
    weights = torch.frombuffer(bytearray(message.content["shared"]["shared"].data), dtype=torch.float32)
    vector = wire.outgoing_vector(weights.numel())
    torch.mul(weights, 1 + int(context.node_config["partition-id"]), out=vector)
    array = Array("float32", tuple(vector.shape), wire.STYPE, b"")
    array.data = memoryview(vector.numpy()).cast("B")
    record = ArrayRecord()
    record["shared"] = array
    return Message(RecordDict({"shared": record}), reply_to=message)


@app.query("count")
def count(message: Message, context: Context) -> Message:
    """How often this client was asked, and by which process it is run."""
    seen = context.state.get("seen") or MetricRecord({"n": 0})
    seen["n"] += 1
    context.state["seen"] = seen
    answer = ConfigRecord(
        {"n": seen["n"], "process": os.getpid(), "threads": torch.get_num_threads()}
        | dict(context.node_config)
        | dict(context.run_config)
        | {"environment": os.environ.get("FEDVOICE_DEVICES", ""), "folder": str(Path.cwd())}
    )
    return Message(RecordDict({"answer": answer}), reply_to=message)


@app.query("sleep")
def sleep(message: Message, _: Context) -> Message:
    """Take the time that the message says."""
    time.sleep(float(message.content["config"]["seconds"]))
    return Message(RecordDict(), reply_to=message)


@app.query("draw")
def draw(message: Message, _: Context) -> Message:
    """Random numbers without a seed."""
    time.sleep(float(message.content["config"]["seconds"]))
    drawn = {"python": random.random(), "numpy": float(np.random.rand()), "torch": float(torch.rand(()))}
    return Message(RecordDict({"drawn": ConfigRecord(drawn | {"process": os.getpid()})}), reply_to=message)


@app.query("die")
def die(message: Message, context: Context) -> Message:
    """Partition 1 is killed as the kernel does when memory runs out."""
    if context.node_config["partition-id"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return Message(RecordDict(), reply_to=message)


@app.query("fail")
def fail(message: Message, context: Context) -> Message:
    """Partition 0 meets a bug, partition 1 an error of the user's, partition 2 forgets to reply."""
    match context.node_config["partition-id"]:
        case 0:
            raise ZeroDivisionError("a bug")
        case 1:
            raise CorpusError("no recordings")
        case 2:
            return None  # type: ignore[return-value]
    return Message(RecordDict(), reply_to=message)
