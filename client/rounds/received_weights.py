"""The weights of a round as they came: checked, decompressed, and added to what they are the change since."""

from __future__ import annotations

from flwr.app import RecordDict

from client.home.device import Device
from client.rounds.anchors import find_anchor
from shared_models import wire
from shared_models.compression import weights_codec
from shared_models.config import Recipe
from shared_models.errors import WireError
from shared_models.partition import Partition

ANCHOR = "anchor"
"""The record of first weights that come along, whole."""


def receive_weights(
    content: RecordDict, partition: Partition, recipe: Recipe, device: Device
) -> wire.Weights:
    """The shared weights of a ``train`` message. Raises :class:`WireError` for anything malformed.

    Raises :class:`LacksAnchorError` for a change since weights that this device does not have.
    """
    header = dict(content.config_records["header"])
    buffer = content.array_records["shared"]["shared"].data
    codec = weights_codec(recipe.compression, partition)
    digest = wire.anchor_hash(header)
    if digest is None:
        return wire.decode(header, buffer, partition, kind="weights", codec=codec)
    if codec is None or not recipe.compression.delta:
        raise WireError("the weights are a change since others, and the recipe says that they come whole")
    sent = None
    if ANCHOR in content.array_records:
        plain = {**header, "compression": wire.UNCOMPRESSED}
        del plain["anchor"]
        whole = content.array_records[ANCHOR][ANCHOR].data
        sent = wire.decode(plain, whole, partition, kind="weights").vector
    anchor = find_anchor(device, digest, sent)
    return wire.decode(header, buffer, partition, kind="weights", codec=codec, anchor=anchor)
