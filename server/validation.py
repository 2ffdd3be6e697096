"""What a reply must be to count, and by what name it is dropped if it is not.

Nothing of a reply is trusted: sizes are compared before anything is decoded, every field of its header with
what this round sent out, every number with what the sum can bear. One bad reply costs its sender the round and
nobody else anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, Message
from torch import Tensor

from server.aggregation import LARGEST_COORDINATE
from server.drops import Drop as Drop
from shared_models import wire
from shared_models.clipping import l2_norm, require_float32
from shared_models.compression import Bounded
from shared_models.errors import WireError
from shared_models.partition import Partition
from shared_models.refusals import Refusal, Refused

NORM_TOLERANCE = 1e-5
_BLOCK = 1 << 17
_LONGEST_REASON = 300
_LONGEST_HEADER = 1 << 16


class UnusableUpdateError(WireError):
    """An update that does not count, with the kind of reason."""

    def __init__(self, kind: Drop, reason: str | None = None) -> None:
        super().__init__(printable(reason or kind.value))
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Expected:
    """What this attempt at this round sent out, and so what may come back."""

    partition: Partition
    run: str
    round: int
    attempt: int
    codec: Bounded | None
    """How updates are compressed; None for float32 as it is."""
    clip: float | None
    """The norm to which updates are clipped under central privacy."""
    largest_norm: float | None
    """The recipe's own limit where there is no clipping."""

    @property
    def nbytes(self) -> int:
        """The exact length of an update's buffer."""
        return self.codec.length if self.codec else self.partition.size * 4


class Inspector:
    """Judges the replies of one attempt at one round."""

    def __init__(self, expected: Expected, asked: Mapping[int, int]) -> None:
        """``asked`` is node id to member, of the devices that were sent this attempt's message."""
        self._expected = expected
        self._asked = asked
        self._heard: set[int] = set()

    def member_of(self, reply: Message) -> int | None:
        """Whose reply it is; None if that device was not asked."""
        return self._asked.get(reply.metadata.src_node_id)

    def update(self, reply: Message) -> Tensor:
        """The update ``(D,)`` float32 of a reply: a view, valid as long as the reply.

        Raises :class:`UnusableUpdateError`. A device is heard once: its first reply decides.
        """
        node = reply.metadata.src_node_id
        if node not in self._asked:
            raise UnusableUpdateError(Drop.NOT_ASKED, f"node {node} was not asked")
        if node in self._heard:
            raise UnusableUpdateError(Drop.SENT_TWICE)
        self._heard.add(node)
        if reply.has_error():
            raise _refusal(reply.error.reason or f"error {reply.error.code}")
        header, array = _pieces(reply)
        self._check_size(array)
        self._check_place(header)
        update = self._decoded(header, array)
        if self._expected.clip is not None:
            validate_update(update, self._expected.partition.size, self._expected.clip)
        else:
            validate_update(update, self._expected.partition.size, None)
            _check_norm(update, self._expected.largest_norm)
        return update

    def _check_size(self, array: Array) -> None:
        nbytes = memoryview(array.data).nbytes
        if nbytes > self._expected.nbytes:
            raise UnusableUpdateError(
                Drop.OVERSIZED, f"an update of {nbytes} bytes where this size takes {self._expected.nbytes}"
            )

    def _check_place(self, header: Mapping[str, object]) -> None:
        expected = {
            "run": self._expected.run,
            "round": self._expected.round,
            "attempt": self._expected.attempt,
        }
        for field, value in expected.items():
            if field in header and header[field] != value:
                raise UnusableUpdateError(
                    Drop.REPLAYED,
                    f"a reply to another message: it has {field} {header[field]!r} where this side has {value!r}",
                )

    def _decoded(self, header: Mapping[str, object], array: Array) -> Tensor:
        expected = self._expected
        try:
            update = wire.decode(
                header,
                array.data,
                expected.partition,
                kind="update",
                round=expected.round,
                codec=expected.codec,
            )
        except WireError as error:
            raise UnusableUpdateError(Drop.MALFORMED, str(error)) from None
        if expected.codec is None and (array.dtype, tuple(array.shape)) != (
            wire.DTYPE,
            (expected.partition.size,),
        ):
            raise UnusableUpdateError(
                Drop.MALFORMED,
                f"the update is labelled {array.dtype} of shape {tuple(array.shape)} where {wire.DTYPE} of "
                f"({expected.partition.size},) was asked for",
            )
        return update.vector


def validate_update(update: Tensor, size: int, clip: float | None) -> None:
    """Check an update ``(size,)`` float32 before it is added; ``clip`` is the norm it was to be clipped to.

    Raises :class:`UnusableUpdateError` for another length, NaN or infinite numbers, coordinates beyond +-64, and a
    norm above ``clip`` by more than 1e-5 of it, and :class:`WireError` for another dtype. No update weighs
    more than another, whatever amount of data it came from.
    """
    flat = require_float32(update)
    if flat.numel() != size:
        raise UnusableUpdateError(
            Drop.MALFORMED,
            f"an update of {flat.numel()} coordinates where the model has {size}: both sides must use the same recipe",
        )
    norm = _quick_norm(flat)
    # A norm within float32's rounding of a limit is taken again in float64, and so is one that overflowed.
    limit = LARGEST_COORDINATE if clip is None else min(clip, LARGEST_COORDINATE)
    if not norm < limit * (1 - 1e-4):
        norm = l2_norm(flat)
    if not math.isfinite(norm):
        raise UnusableUpdateError(
            Drop.NOT_FINITE, "an update holds NaN or infinite numbers: that client's training diverged"
        )
    if clip is not None and norm > clip * (1 + NORM_TOLERANCE):
        raise UnusableUpdateError(
            Drop.NORM, f"an update has norm {norm:.6g} where the round's clipping norm is {clip:g}"
        )
    if norm > LARGEST_COORDINATE and (largest := float(flat.abs().max())) > LARGEST_COORDINATE:
        raise UnusableUpdateError(
            Drop.NORM,
            f"an update moves a weight by {largest:.4g}, more than {LARGEST_COORDINATE:g}: that client's "
            "training diverged",
        )


def printable(text: str) -> str:
    """What a device says, fit for the server's log: one short line without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST_REASON]).split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"


_COUNTS_AS = {
    Refusal.DECLINED: Drop.DECLINED,
    Refusal.SERVER_ROLLED_BACK: Drop.SERVER_ROLLED_BACK,
    Refusal.DEVICE_ROLLED_BACK: Drop.ROLLED_BACK,
    Refusal.LACKS_ANCHOR: Drop.LACKS_ANCHOR,
    Refusal.DISK: Drop.DISK,
    Refusal.DIVERGED: Drop.DIVERGED,
    Refusal.FAILED: Drop.FAILED,
}
"""A device may lie about the kind of its refusal, which changes a count and nothing else."""
REFUSALS = tuple(_COUNTS_AS.values())
"""What a device that answered without an update is counted as."""


def _refusal(reason: str) -> UnusableUpdateError:
    refused = Refused.parse(reason)
    return UnusableUpdateError(_COUNTS_AS[refused.kind], refused.said)


def _pieces(reply: Message) -> tuple[dict[str, object], Array]:
    content = reply.content
    try:
        header: dict[str, object] = dict(content.config_records["header"])
        arrays = content.array_records["shared"]
        array = arrays["shared"]
    except KeyError as error:
        raise UnusableUpdateError(Drop.MALFORMED, f"a reply without {error}") from None
    extra = sorted((set(content) - {"header", "shared"}) | (set(arrays) - {"shared"}))
    if extra:
        raise UnusableUpdateError(
            Drop.MALFORMED, f"a reply with {extra[0]!r}, where only a header and the update are asked for"
        )
    if sum(len(str(name)) + len(str(value)) for name, value in header.items()) > _LONGEST_HEADER:
        raise UnusableUpdateError(
            Drop.OVERSIZED, f"a reply with a header of more than {_LONGEST_HEADER} characters"
        )
    return header, array


def _check_norm(update: Tensor, largest: float | None) -> None:
    if largest is not None and (norm := l2_norm(update)) > largest * (1 + NORM_TOLERANCE):
        raise UnusableUpdateError(
            Drop.NORM, f"an update has norm {norm:.6g} where federation.largest_norm is {largest:g}"
        )


def _quick_norm(flat: Tensor) -> float:
    array = flat.numpy()
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, array.size, _BLOCK):
            block = array[start : start + _BLOCK]
            total += float(np.dot(block, block))
    return math.sqrt(total) if total >= 0 else math.nan
