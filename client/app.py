"""The device's Flower app: the one code path of simulations and live federations.

It answers two messages. ``train`` carries the shared weights and the recipe, and the reply carries the
update and nothing else: no metrics, no counts, no loss (what depends on the voice is either clipped and
noised, or stays). ``query.hello`` says which partition this client holds, since Flower's node ids are
random in every run.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.compressed_update import encode_update
from client.device import Device
from client.learning.material import Material
from client.ledger import Ledger
from client.live_round import LiveRound
from client.owner_ledger import open_owner_ledger
from client.personal_terms import PersonalTerms
from client.policy import Policy
from client.private_adaptation import private_steps
from client.received_weights import receive_weights
from client.training import PrivateLoop, local_round
from client.vocoder_round import train_vocoder_on_device
from shared_models import wire
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.cache import FeatureCache
from shared_models.config import FeatureConfig, Recipe, recipe_from_json
from shared_models.errors import (
    AudioError,
    BudgetError,
    CorpusError,
    DeclinedError,
    DivergedError,
    FedVoiceError,
    StaleCopyError,
    StorageError,
)
from shared_models.features import Features
from shared_models.federated_model import federated_model, model_key
from shared_models.partition import Partition, PartitionedModel
from shared_models.utterance import Utterance

DEVICES_VARIABLE = "FEDVOICE_DEVICES"

app = ClientApp()


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Say which partition this client is, so that the server can sample the same cohort in every engine."""
    partition = int(context.node_config.get("partition-id", 0))
    return Message(RecordDict({"hello": ConfigRecord({"partition": partition})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round on this device's recordings and reply with the update of the shared set."""
    header = dict(message.content.config_records["header"])
    recipe = _recipe(str(header["recipe"]))
    device, simulated = _device(context)
    run, round_number = str(header["run"]), _round_of(header)
    with _owner_alone_reads(device, run, round_number):
        live = None if simulated else LiveRound.open(device, recipe, header)
    torch.set_num_threads(live.threads if live else recipe.engine.threads)
    model = _model(model_key(recipe))
    weights = receive_weights(message.content, model.partition, recipe, device)
    partition_id = int(context.node_config.get("partition-id", 0))
    if live is not None:
        with _owner_alone_reads(device, run, round_number):
            kept = live.admit(model.partition, Partition.of(model.model), weights)
        if kept is not None:
            return Message(kept, reply_to=message)
    with _owner_alone_reads(device, run, round_number):
        if recipe.trains == "vocoder":
            update = train_vocoder_on_device(
                model, weights.vector, device, recipe, weights.round, run, partition_id
            )
        else:
            update = train_device(
                model, weights.vector, device, recipe, weights.round, run, partition_id, simulated,
                None if live is None else live.policy,
            )  # fmt: skip
        reply_header, buffer = encode_update(model, update, recipe, device, run, partition_id, simulated)
        content = _content(reply_header, buffer)
        if live is not None:
            live.keep(content)
    return Message(content, reply_to=message)


_KNOWN_TO_THE_SERVER = {
    AudioError: "a recording on the device cannot be used",
    BudgetError: "the device's privacy budget does not allow this round",
    CorpusError: "the device has no usable recordings",
    DivergedError: "the device's training diverged",
    StaleCopyError: "the device's files are an older copy than what was already counted",
    StorageError: "the device's disk is full or not writable: free some space there",
}


@contextlib.contextmanager
def _owner_alone_reads(device: Device, run: str, round_number: int) -> Iterator[None]:
    """Whatever goes wrong within is told to the owner in full, and to the server by its kind alone."""
    try:
        yield
    except DeclinedError:
        raise  # Made for the server to read.
    except Exception as error:
        raise _anonymous(error, device, run, round_number) from None


def _round_of(header: Mapping[str, Any]) -> int:
    """The round that a message claims to be of, for the log; what is used is what the wire's decoding checked."""
    number = header.get("round")
    return number if isinstance(number, int) else -1


def _anonymous(error: Exception, device: Device, run: str, round_number: int) -> FedVoiceError:
    """What the server may know of a failure in training: its kind.

    The text of an error names files, and so people, or speaks of the recordings; it stays in the owner's log.
    """
    text = "".join(traceback.format_exception_only(error)).strip()
    if not isinstance(error, FedVoiceError):
        text = "".join(traceback.format_exception(error))
    with contextlib.suppress(
        StorageError
    ):  # a full disk has no room for this line either, and is told of below
        device.log({"run": run, "round": round_number, "error": text, "outer": []})
    kind = type(error).__name__
    known = next(
        (said for error_class, said in _KNOWN_TO_THE_SERVER.items() if isinstance(error, error_class)), None
    )
    return FedVoiceError(f"{kind}: {known or 'the device could not train'} (see its own training.jsonl)")


def _content(header: wire.Header, buffer: wire.Buffer) -> RecordDict:
    compressed = "compression" in header
    dtype = wire.COMPRESSED_DTYPE if compressed else wire.DTYPE
    array = Array(dtype, (int(header["bytes" if compressed else "size"]),), wire.STYPE, b"")
    # Set afterwards: Flower's constructor takes bytes alone, and within a simulation this is shared memory.
    array.data = buffer  # type: ignore[assignment]
    shared = ArrayRecord()
    shared["shared"] = array
    return RecordDict({"header": ConfigRecord(dict(header)), "shared": shared})


def train_device(
    model: VoicePartition,
    weights: torch.Tensor,
    device: Device,
    recipe: Recipe,
    round_number: int,
    run: str,
    partition_id: int,
    simulated: bool,
    policy: Policy | None = None,
) -> wire.Update:
    """One round on one device's files: personal parameters from and to disk, losses to the owner's log.

    ``simulated`` draws DP-SGD's noise from the recipe's seed, so that runs repeat, and keeps the cost in the
    simulated device's own ledger; a real device's noise comes from the operating system, since whoever sent the
    recipe knows its seed, and its cost goes into the ledger of its owner, on the terms of the owner's ``policy``
    (the default one if None).
    """
    started = time.monotonic()
    private = _private_terms(device, recipe, None if simulated else policy or Policy())
    paid_by = None if private is None else private[0].identity
    _put_personal(
        model, device.load_personal(run, round_number, like=model.personal_state(), paid_by=paid_by)
    )
    utterances = CachedFeatures(device.recordings, device.feature_cache, recipe.features)
    material = Material.split(utterances, recipe.client.support_fraction)
    inner = None
    if private is not None:
        inner = _private_inner_loop(model, recipe, round_number, run, simulated, *private)
    result = local_round(model, weights, material, recipe, round_number, partition_id, inner)
    device.save_personal(run, round_number, model.personal_state(), paid_by=paid_by)
    device.log(
        {"run": run, "round": round_number, "seconds": round(time.monotonic() - started, 3)} | result.losses
    )
    return result.update


def _private_terms(
    device: Device, recipe: Recipe, policy: Policy | None
) -> tuple[Ledger, PersonalTerms] | None:
    """The ledger and the terms of a private inner loop; None where the personal set trains without noise, or may.

    Without a ``policy``, a simulation's: the recipe's, and the simulated device's own ledger.
    """
    personal = recipe.personal_privacy
    if not personal.enabled or recipe.algorithm.trains_voice_without_noise:
        return None
    if policy is None:
        return Ledger(device.ledger_path, personal.epsilon, personal.delta), PersonalTerms.of(recipe)
    terms = policy.personal_terms(recipe)
    return open_owner_ledger(policy.personal_epsilon, policy.personal_delta, home=device.home), terms


def _private_inner_loop(
    model: VoicePartition,
    recipe: Recipe,
    round_number: int,
    run: str,
    simulated: bool,
    book: Ledger,
    terms: PersonalTerms,
) -> PrivateLoop:
    def loop(support: Sequence[Features], rng: torch.Generator) -> list[float]:
        private_steps(
            model, support, recipe, steps=recipe.client.inner_steps,
            # At most so many, if the client is in every cohort.
            total_steps=recipe.client.inner_steps * recipe.federation.rounds,
            lr=recipe.client.inner_lr, book=book, purpose="inner loop", run=run,
            round_number=round_number, generator=rng if simulated else None, terms=terms,
        )  # fmt: skip
        return []

    return loop


class CachedFeatures(Sequence[Features]):
    """A device's features, each read from its cache when it is first asked for."""

    def __init__(self, recordings: Sequence[Utterance], cache: Path, config: FeatureConfig) -> None:
        self._recordings = recordings
        self._cache = cache
        self._config = config

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return _features(self._cache, self._recordings[index], self._config)


@lru_cache(maxsize=1024)
def _features(cache: Path, recording: Utterance, config: FeatureConfig) -> Features:
    return FeatureCache(cache).get(recording, config)


@lru_cache(maxsize=2)
def _recipe(text: str) -> Recipe:
    return recipe_from_json(text)


@lru_cache(maxsize=1)
def _model(key: str) -> PartitionedModel[Any]:
    return federated_model(recipe_from_json(key))


def _put_personal(model: VoicePartition, state: dict[str, torch.Tensor] | None) -> None:
    if state is None:
        model.reset_personal()
    else:
        model.load_personal_state(state)


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
    index = int(context.node_config["partition-id"])
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
