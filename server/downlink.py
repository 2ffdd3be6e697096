"""The weights of a round as devices get them: encoded once, whole or as the change since the run's first.

A change is of use to a device that has the first weights. Every installation has the packaged base; others are
sent along, uncompressed, until the device has answered once. That is remembered in memory alone: a server that
was restarted sends them again, and a device that lost them says so and gets them in its next round.
"""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from torch import Tensor

from shared_models import wire
from shared_models.compression import weights_codec
from shared_models.compression.anchors import is_packaged
from shared_models.config import CompressionConfig
from shared_models.partition import Partition
from shared_models.refusals import Refusal, Refused


class Downlink:
    """What goes to the devices of one run, which began with the weights ``initial`` ``(D,)``."""

    def __init__(self, config: CompressionConfig, partition: Partition, initial: Tensor) -> None:
        self._partition = partition
        self._codec = weights_codec(config, partition)
        self._anchor = initial.clone() if config.delta else None
        self._everyone_has_it = self._anchor is None or is_packaged(self._anchor)
        self._has_it: set[int] = set()
        self._lacks_it: set[int] = set()
        self._whole: ArrayRecord | None = None

    def encode(self, number: int, weights: Tensor) -> tuple[wire.Header, ArrayRecord]:
        """Header and weights of a round, for all of its messages: they refer to one buffer."""
        sent = wire.Weights(self._partition.schema, number, weights)
        header, buffer = wire.encode_weights(sent, self._codec, self._anchor)
        if self._codec is None:
            array = Array(wire.DTYPE, tuple(weights.shape), wire.STYPE, bytes(buffer))
        else:
            array = Array(wire.COMPRESSED_DTYPE, (len(buffer),), wire.STYPE, bytes(buffer))
        return header, ArrayRecord({"shared": array})

    def content(self, node: int, header: ConfigRecord, shared: ArrayRecord) -> RecordDict:
        """One device's message, with the first weights if it does not have them."""
        records: dict[str, ConfigRecord | ArrayRecord] = {"header": header, "shared": shared}
        if self.brings_anchor(node):
            records["anchor"] = self._first_weights()
        return RecordDict(records)  # type: ignore[arg-type]

    def brings_anchor(self, node: int) -> bool:
        """Whether the next message to this device carries the first weights."""
        return node in self._lacks_it or not (self._everyone_has_it or node in self._has_it)

    def heard(self, reply: Message) -> None:
        """Learn from a reply whether its sender has the first weights."""
        node = reply.metadata.src_node_id
        if not reply.has_error():
            self._has_it.add(node)
            self._lacks_it.discard(node)
        elif Refused.parse(reply.error.reason or "").kind is Refusal.LACKS_ANCHOR:
            self._lacks_it.add(node)

    def _first_weights(self) -> ArrayRecord:
        if self._whole is None:
            assert self._anchor is not None
            first = wire.Weights(self._partition.schema, 0, self._anchor)
            _, buffer = wire.encode_weights(first)
            array = Array(wire.DTYPE, tuple(self._anchor.shape), wire.STYPE, bytes(buffer))
            self._whole = ArrayRecord({"anchor": array})
        return self._whole
