"""What travels between a device and the server: a short header and one buffer of the shared set.

A buffer holds the D coordinates of the shared set as contiguous little-endian float32, in the order that
:class:`~shared_models.partition.Partition` lays down, or the payload that a codec of
:mod:`shared_models.compression` made of them, and nothing else has a place in it: encoding an update takes
the partitioned model itself, never a state dict. Header and buffer are plain Python, so that
either side can put them into the records of whatever carries them (``STYPE`` names the layout there).

Inside of a simulation the buffer may be memory that the receiver already sees: an engine sets an
:class:`Outbox`, and an update that is formed in :func:`outgoing_vector` is then sent without being copied.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, overload

import numpy as np
import torch
from torch import Tensor

from shared_models.compression.bounded import Bounded
from shared_models.errors import WireError
from shared_models.partition import Partition, PartitionedModel, weights_hash

STYPE = "fedvoice.flat"
"""Names the buffer's layout to a carrier that labels arrays with one."""

DTYPE = "float32"
COMPRESSED_DTYPE = "uint8"
"""Labels a compressed buffer to a carrier; what the header's dtype says is what it decodes to."""
UNCOMPRESSED = "none"
_ITEM = 4
_LITTLE_ENDIAN = np.dtype("<f4")

Header: TypeAlias = dict[str, str | int]
Buffer: TypeAlias = bytes | memoryview
Kind: TypeAlias = Literal["weights", "update"]


@dataclass(frozen=True, slots=True)
class Weights:
    """The shared set that a round starts from; server to device."""

    schema: str
    """:attr:`Partition.schema` of the model that it fits."""
    round: int
    vector: Tensor
    """``(D,)`` float32."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a round changed in the shared set; device to server."""

    schema: str
    round: int
    vector: Tensor
    """``(D,)`` float32: the shared set after the round, less that before it."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a codec made of a vector."""

    name: str
    """:attr:`~shared_models.compression.Codec.name`, on which both sides must agree."""
    payload: bytes


class Outbox(Protocol):
    """Memory from which an engine sends, offered so that what is formed in it need not be copied."""

    def allocate(self, nbytes: int) -> memoryview:
        """A writable region, valid until the reply at hand has been sent."""

    def find(self, address: int, nbytes: int) -> memoryview | None:
        """The region at ``address``, if these ``nbytes`` lie within one that was allocated."""


_outbox: ContextVar[Outbox | None] = ContextVar("fedvoice_outbox", default=None)


@contextmanager
def sending_from(outbox: Outbox) -> Iterator[None]:
    """Encode into ``outbox`` within the block."""
    token = _outbox.set(outbox)
    try:
        yield
    finally:
        _outbox.reset(token)


def outgoing_vector(size: int) -> Tensor:
    """An uninitialised ``(size,)`` float32 vector in the memory that will be sent, where there is such."""
    outbox = _outbox.get()
    if outbox is None or size == 0:
        return torch.empty(size)
    return torch.frombuffer(outbox.allocate(size * _ITEM), dtype=torch.float32)


@torch.no_grad()
def form_update(model: PartitionedModel[Any], start: Tensor, round_number: int) -> Update:
    """What training changed: the model's shared set less ``start`` ``(D,)``, formed where it is sent from."""
    _check_model(model)
    if start.shape != (model.partition.size,):
        raise WireError(
            f"an update from {start.numel()} coordinates to this model's {model.partition.size} has no "
            "meaning: start from the weights that the round sent"
        )
    vector = model.shared_vector(out=outgoing_vector(model.partition.size)).sub_(start)
    return Update(model.partition.schema, round_number, vector)


def encode(
    model: PartitionedModel[Any], update: Update, compressed: Compressed | None = None
) -> tuple[Header, Buffer]:
    """Header and buffer of an update of ``model``'s shared set, or of what a codec made of it.

    The buffer is ``bytes``, or within :func:`sending_from` a view of the outbox. Raises :class:`WireError`
    for anything but a partitioned model, and for an update that does not fit it.
    """
    _check_model(model)
    if not isinstance(update, Update):
        raise WireError(f"only an Update is sent to the server, and this is a {type(update).__name__}")
    if update.schema != model.partition.schema:
        raise WireError(
            f"the update is of schema {update.schema} and the model of {model.partition.schema}: "
            "form the update from the model it is sent for"
        )
    _check_vector(update.vector, model.partition.size)
    header = _header("update", update.schema, update.round, update.vector)
    if compressed is not None:
        return {**header, **_described(compressed)}, compressed.payload
    return header, _buffer(update.vector)


def encode_weights(
    weights: Weights, codec: Bounded | None = None, anchor: Tensor | None = None
) -> tuple[Header, Buffer]:
    """Header and buffer of the shared weights. They fit any number of messages: encode once a round.

    With ``anchor`` ``(D,)``, weights that devices have, only the change since is sent; it takes a ``codec``.
    """
    if not isinstance(weights, Weights):
        raise WireError(f"only Weights are sent to devices, and this is a {type(weights).__name__}")
    _check_vector(weights.vector, weights.vector.numel())
    header = _header("weights", weights.schema, weights.round, weights.vector)
    if codec is None:
        return header, _buffer(weights.vector)
    if anchor is None:
        compressed = Compressed(codec.name, codec.compress(weights.vector)[0])
        return {**header, **_described(compressed)}, compressed.payload
    compressed = Compressed(codec.name, codec.compress(weights.vector - anchor)[0])
    return {**header, **_described(compressed), "anchor": weights_hash(anchor)}, compressed.payload


def anchor_hash(header: Mapping[str, Any]) -> str | None:
    """The :func:`~shared_models.partition.weights_hash` of what these weights are the change since."""
    found = header.get("anchor")
    if found is not None and not isinstance(found, str):
        raise WireError(f"the weights are the change since {found!r}, which is no hash")
    return found


@overload
def decode(
    header: Mapping[str, Any],
    buffer: Buffer,
    partition: Partition,
    *,
    kind: Literal["weights"],
    round: int | None = None,
    codec: Bounded | None = None,
    anchor: Tensor | None = None,
) -> Weights: ...


@overload
def decode(
    header: Mapping[str, Any],
    buffer: Buffer,
    partition: Partition,
    *,
    kind: Literal["update"],
    round: int | None = None,
    codec: Bounded | None = None,
    anchor: Tensor | None = None,
) -> Update: ...


def decode(
    header: Mapping[str, Any],
    buffer: Buffer,
    partition: Partition,
    *,
    kind: Kind,
    round: int | None = None,
    codec: Bounded | None = None,
    anchor: Tensor | None = None,
) -> Weights | Update:
    """Check a message against what this side agreed to, and view its buffer as a ``(D,)`` vector.

    Without ``codec`` nothing is copied: the vector is the buffer's own memory, lives as long as it, and must
    not be written to. ``round`` is the round that this side is in, or None to accept any; ``anchor`` is what
    the weights are the change since, if they say so. Raises :class:`WireError` naming both sides' values
    where they differ, and for a malformed payload; what the numbers are is not looked at.
    """
    expected: dict[str, str | int] = {
        "kind": kind,
        "schema": partition.schema,
        "size": partition.size,
        "dtype": DTYPE,
    }
    if codec is not None:
        expected |= {"compression": codec.name, "bytes": codec.length}
    elif header.get("compression", UNCOMPRESSED) != UNCOMPRESSED:
        expected["compression"] = UNCOMPRESSED
    if anchor is not None:
        expected["anchor"] = weights_hash(anchor)
    elif anchor_hash(header) is not None:
        raise WireError(f"the {kind} are a change since other weights, which this side does not have")
    if round is not None:
        expected["round"] = round
    for field, value in expected.items():
        _check_field(header, field, value)
    number = header.get("round")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise WireError(
            f"the {kind} of round {number!r} has no round to belong to: the sender must number it"
        )
    if not isinstance(buffer, bytes | bytearray | memoryview):
        raise WireError(f"the {kind} came as {type(buffer).__name__}, and not as a buffer of bytes")
    made = Weights if kind == "weights" else Update
    if codec is not None:
        vector = codec.decompress(buffer)
        return made(partition.schema, number, vector if anchor is None else vector.add_(anchor))
    if memoryview(buffer).nbytes != partition.size * _ITEM:
        raise WireError(
            f"the {kind} came with {memoryview(buffer).nbytes} bytes where {partition.size} coordinates take "
            f"{partition.size * _ITEM}: it was truncated on its way"
        )
    return made(partition.schema, number, _view(buffer))


def _check_model(model: object) -> None:
    if not isinstance(model, PartitionedModel):
        raise WireError(
            f"only a partitioned model is sent, and this is a {type(model).__name__}: "
            "wrap the model in PartitionedModel, which leaves the personal set out"
        )


def _check_vector(vector: Tensor, size: int) -> None:
    if vector.dtype is not torch.float32 or vector.shape != (size,):
        raise WireError(
            f"the vector is {vector.dtype} of shape {tuple(vector.shape)} where {DTYPE} of ({size},) is sent"
        )


def _check_field(header: Mapping[str, Any], field: str, expected: str | int) -> None:
    found = header.get(field)
    # True == 1 in Python, but no number that we send is a truth value.
    if type(found) is not type(expected) or found != expected:
        raise WireError(
            f"the message has {field} {found!r} where this side has {expected!r}: "
            "both must run the same recipe and be in the same round"
        )


def _header(kind: Kind, schema: str, number: int, vector: Tensor) -> Header:
    return {"kind": kind, "schema": schema, "round": number, "size": vector.numel(), "dtype": DTYPE}


def _described(compressed: Compressed) -> Header:
    return {"compression": compressed.name, "bytes": len(compressed.payload)}


def _buffer(vector: Tensor) -> Buffer:
    plain = vector.detach().cpu().contiguous()
    outbox = _outbox.get()
    if outbox is None or not plain.numel():
        return plain.numpy().astype(_LITTLE_ENDIAN, copy=False).tobytes()
    nbytes = plain.numel() * _ITEM
    region = outbox.find(plain.data_ptr(), nbytes)
    if region is None:
        region = outbox.allocate(nbytes)
        torch.frombuffer(region, dtype=torch.float32).copy_(plain)
    return region


def _view(buffer: Buffer) -> Tensor:
    if not memoryview(buffer).nbytes:
        return torch.empty(0)
    numbers = np.frombuffer(buffer, dtype=_LITTLE_ENDIAN).astype(np.float32, copy=False)
    with warnings.catch_warnings():
        # torch has no read-only tensors and says so; that the view is not written to is our own promise.
        warnings.filterwarnings("ignore", message=".*not writable.*", category=UserWarning)
        return torch.from_numpy(numbers)
