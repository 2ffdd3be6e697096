"""Compressed messages: both sides agree on the codec, the length and what a change counts from, or refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shared_models import wire
from shared_models.compression import Bounded, CompressionConfig, update_codec, weights_codec
from shared_models.errors import WireError
from shared_models.partition import Owner, PartitionedModel, weights_hash

SIZE = 300


class Shared(nn.Module):
    belongs_to = Owner.SHARED

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(SIZE))


MODEL = PartitionedModel(Shared())
PARTITION = MODEL.partition


def codec(**settings: Any) -> Bounded:
    found = update_codec(CompressionConfig(**settings), PARTITION)
    assert found is not None
    return found


def vector(seed: int = 1) -> torch.Tensor:
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))


def sent(chosen: Bounded) -> tuple[wire.Header, wire.Buffer, torch.Tensor]:
    payload, decoded = chosen.compress(vector(), np.random.default_rng(1))
    update = wire.Update(PARTITION.schema, 4, vector())
    header, buffer = wire.encode(MODEL, update, wire.Compressed(chosen.name, payload))
    return header, buffer, decoded


def test_the_server_decodes_what_the_device_decoded() -> None:
    chosen = codec(up="top_k", share=0.1)
    header, buffer, decoded = sent(chosen)
    back = wire.decode(header, buffer, PARTITION, kind="update", round=4, codec=chosen)
    assert torch.equal(back.vector, decoded)
    assert header["bytes"] == len(buffer) == chosen.length < 4 * SIZE


def test_another_codec_is_refused_with_both_names() -> None:
    header, buffer, _ = sent(codec(up="int8"))
    with pytest.raises(WireError, match=r"int8/256.*int4/256"):
        wire.decode(header, buffer, PARTITION, kind="update", codec=codec(up="int4"))
    with pytest.raises(WireError, match="compression 'int8/256' where this side has 'none'"):
        wire.decode(header, buffer, PARTITION, kind="update")


def test_an_uncompressed_update_is_refused_where_a_codec_is_agreed() -> None:
    header, buffer = wire.encode(MODEL, wire.Update(PARTITION.schema, 4, vector()))
    with pytest.raises(WireError, match="compression None"):
        wire.decode(header, buffer, PARTITION, kind="update", codec=codec(up="int8"))


@pytest.mark.parametrize("claimed", [10**12, 0, -1, True, "300", None])
def test_a_header_cannot_claim_another_length(claimed: object) -> None:
    header, buffer, _ = sent(codec(up="int8"))
    with pytest.raises(WireError, match="bytes"):
        wire.decode({**header, "bytes": claimed}, buffer, PARTITION, kind="update", codec=codec(up="int8"))


@pytest.mark.parametrize("change", [-1, 1, 10_000])
def test_a_payload_of_another_length_is_refused(change: int) -> None:
    chosen = codec(up="int8")
    header, buffer, _ = sent(chosen)
    wrong = bytes(buffer)[:change] if change < 0 else bytes(buffer) + bytes(change)
    with pytest.raises(WireError, match="truncated"):
        wire.decode(header, wrong, PARTITION, kind="update", codec=chosen)


def weights_sent(anchor: torch.Tensor | None) -> tuple[wire.Header, wire.Buffer, Bounded]:
    chosen = weights_codec(CompressionConfig(down="int8", delta=anchor is not None), PARTITION)
    assert chosen is not None
    return *wire.encode_weights(wire.Weights(PARTITION.schema, 2, vector(2)), chosen, anchor), chosen


def test_a_change_is_closer_than_the_weights_in_as_many_bytes() -> None:
    anchor = vector(2) + 1e-3 * vector(3)
    whole_header, whole, chosen = weights_sent(None)
    header, change, _ = weights_sent(anchor)
    plain = wire.decode(whole_header, whole, PARTITION, kind="weights", codec=chosen).vector
    added = wire.decode(header, change, PARTITION, kind="weights", codec=chosen, anchor=anchor).vector
    assert wire.anchor_hash(header) == weights_hash(anchor)
    assert len(change) == len(whole)
    assert (added - vector(2)).norm() < (plain - vector(2)).norm() / 100


def test_a_change_since_other_weights_is_refused() -> None:
    header, change, chosen = weights_sent(vector(5))
    with pytest.raises(WireError, match="does not have"):
        wire.decode(header, change, PARTITION, kind="weights", codec=chosen)
    with pytest.raises(WireError, match="anchor"):
        wire.decode(header, change, PARTITION, kind="weights", codec=chosen, anchor=vector(6))
    with pytest.raises(WireError, match="no hash"):
        wire.anchor_hash({**header, "anchor": 5})


def test_the_anchor_is_left_as_it_was() -> None:
    anchor = vector(5)
    header, change, chosen = weights_sent(anchor)
    wire.decode(header, change, PARTITION, kind="weights", codec=chosen, anchor=anchor)
    assert torch.equal(anchor, vector(5))
