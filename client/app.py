"""The device's Flower app: the one code path of simulations and live federations.

It answers two messages. ``train`` carries the shared weights and the recipe, and the reply carries the
update and nothing else: no metrics, no counts, no loss (what depends on the voice is either clipped and
noised, or stays). ``query.hello`` says which member of the federation this client is, since Flower's node
ids are random in every run.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.home.device import Device
from client.rounds.compressed_update import encode_update
from client.rounds.device_training import train_device
from client.rounds.live_round import LiveRound
from client.rounds.received_weights import receive_weights
from client.rounds.vocoder_round import train_vocoder_on_device
from client.task import Task
from shared_models import wire
from shared_models.accelerator import accelerator_of, repeat_on
from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import (
    AudioError,
    BudgetError,
    CorpusError,
    DeclinedError,
    DivergedError,
    FedVoiceError,
    RefusedError,
    StaleCopyError,
    StorageError,
)
from shared_models.federated_model import federated_model, model_key
from shared_models.partition import Partition, PartitionedModel
from shared_models.refusals import Refusal, Refused

DEVICES_VARIABLE = "FEDVOICE_DEVICES"

app = ClientApp()


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Say which member this client is, so that the server can sample the same cohort in every engine."""
    return Message(RecordDict({"hello": ConfigRecord({"member": _member(context)})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round on this device's recordings and reply with the update of the shared set."""
    try:
        return _train(message, context)
    except FedVoiceError as error:
        # Whatever carries it to the server carries its text alone.
        error.args = (str(Refused(error.refusal, str(error))),)
        raise


def _train(message: Message, context: Context) -> Message:
    header = dict(message.content.config_records["header"])
    recipe = _recipe(str(header["recipe"]))
    device, simulated = _device(context)
    task = Task(recipe, str(header["run"]), _claimed_round(header), _member(context), simulated)
    with _owner_alone_reads(device, task):
        live = None if simulated else LiveRound.open(device, recipe, header)
    if live is not None:
        recipe = live.on_owners_terms
        task = replace(task, recipe=recipe)
    torch.set_num_threads(recipe.engine.threads)
    with _owner_alone_reads(device, task):
        accelerator = accelerator_of(recipe.engine)
    repeat_on(accelerator.device)
    model = _model(model_key(recipe), accelerator.device)
    weights = receive_weights(message.content, model.partition, recipe, device)
    task = replace(task, round=weights.round)
    if live is not None:
        with _owner_alone_reads(device, task):
            kept = live.admit(model.partition, Partition.of(model.model), weights)
        if kept is not None:
            return Message(kept, reply_to=message)
    with _owner_alone_reads(device, task):
        if recipe.trains == "vocoder":
            update = train_vocoder_on_device(model, weights.vector, device, task)
        else:
            update = train_device(model, weights.vector, device, task, live.policy if live else None)
        reply_header, buffer = encode_update(model, update, device, task)
        content = _content(reply_header, buffer)
        if live is not None:
            live.keep(content)
    return Message(content, reply_to=message)


def _member(context: Context) -> int:
    # Flower's own engine calls a client's number so.
    return int(context.node_config.get("partition-id", 0))


_KNOWN_TO_THE_SERVER = {
    AudioError: "a recording on the device cannot be used",
    BudgetError: "the device's privacy budget does not allow this round",
    CorpusError: "the device has no usable recordings",
    DivergedError: "the device's training diverged",
    StaleCopyError: "the device's files are an older copy than what was already counted",
    StorageError: "the device's disk is full or not writable: free some space there",
}


@contextlib.contextmanager
def _owner_alone_reads(device: Device, task: Task) -> Iterator[None]:
    """Whatever goes wrong within is told to the owner in full, and to the server by its kind alone."""
    try:
        yield
    except DeclinedError:
        raise  # Made for the server to read.
    except Exception as error:
        raise _anonymous(error, device, task) from None


def _claimed_round(header: Mapping[str, Any]) -> int:
    """The round that a message claims to be of, for the log; what is used is what the wire's decoding checked."""
    number = header.get("round")
    return number if isinstance(number, int) else -1


def _anonymous(error: Exception, device: Device, task: Task) -> RefusedError:
    """What the server may know of a failure in training: its kind.

    The text of an error names files, and so people, or speaks of the recordings; it stays in the owner's log.
    """
    text = "".join(traceback.format_exception_only(error)).strip()
    if not isinstance(error, FedVoiceError):
        text = "".join(traceback.format_exception(error))
    with contextlib.suppress(
        StorageError
    ):  # a full disk has no room for this line either, and is told of below
        device.log({"run": task.run, "round": task.round, "error": text, "outer": []})
    kind = type(error).__name__
    refusal = error.refusal if isinstance(error, FedVoiceError) else Refusal.FAILED
    known = next(
        (said for error_class, said in _KNOWN_TO_THE_SERVER.items() if isinstance(error, error_class)), None
    )
    told = f"{kind}: {known or 'the device could not train'} (see its own training.jsonl)"
    return RefusedError(refusal, told)


def _content(header: wire.Header, buffer: wire.Buffer) -> RecordDict:
    compressed = "compression" in header
    dtype = wire.COMPRESSED_DTYPE if compressed else wire.DTYPE
    array = Array(dtype, (int(header["bytes" if compressed else "size"]),), wire.STYPE, b"")
    # Set afterwards: Flower's constructor takes bytes alone, and within a simulation this is shared memory.
    array.data = buffer  # type: ignore[assignment]
    shared = ArrayRecord()
    shared["shared"] = array
    return RecordDict({"header": ConfigRecord(dict(header)), "shared": shared})


@lru_cache(maxsize=2)
def _recipe(text: str) -> Recipe:
    return recipe_from_json(text)


@lru_cache(maxsize=1)
def _model(key: str, device: torch.device) -> PartitionedModel[Any]:
    return federated_model(recipe_from_json(key), device)


def _device(context: Context) -> tuple[Device, bool]:
    """This client's device, and whether it is a simulated one (found by its place among others)."""
    own = context.node_config.get("device") or context.run_config.get("device")
    if own:
        return Device.open(Path(str(own))), False
    root = str(context.run_config.get("devices") or os.environ.get(DEVICES_VARIABLE, ""))
    if not root:
        raise CorpusError(
            f"this client was given no recordings: set {DEVICES_VARIABLE}, or devices in the run config, to a folder "
            "made by `fedvoice corpus devices`"
        )
    homes = _homes(root)
    index = _member(context)
    if index >= len(homes):
        raise CorpusError(
            f"client {index} has no device in {root}, which holds {len(homes)}: start as many clients as devices"
        )
    return _open_device(homes[index]), True


@lru_cache(maxsize=4)
def _homes(root: str) -> list[Path]:
    return sorted(path.parent for path in Path(root).glob("*/recordings.json"))


@lru_cache(maxsize=256)
def _open_device(home: Path) -> Device:
    return Device.open(home)
