"""The way down: a device gets first weights that it lacks along with their change, once, and never by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord, Error, Message, RecordDict
from torch import Tensor, nn

import client.rounds.anchors
from client.home.device import Device
from client.rounds.received_weights import receive_weights
from server.downlink import Downlink
from shared_models.compression import anchors
from shared_models.config import Recipe
from shared_models.errors import FedVoiceError, LacksAnchorError, WireError
from shared_models.partition import Owner, PartitionedModel, weights_hash
from shared_models.refusals import Refused
from simulations.engine.task_identity import SERVER_NODE_ID, identify, number_message

SIZE = 500


class Shared(nn.Module):
    belongs_to = Owner.SHARED

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(SIZE))


PARTITION = PartitionedModel(Shared()).partition
RECIPE = Recipe().override({"compression.down": "int8", "compression.delta": True})


def draws(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device.create(tmp_path / "device", "me", [], tmp_path / "cache")


def content(downlink: Downlink, node: int, number: int, weights: Tensor) -> RecordDict:
    header, shared = downlink.encode(number, weights)
    return downlink.content(node, ConfigRecord(dict(header)), shared)


def answer(downlink: Downlink, node: int, error: FedVoiceError | None = None) -> None:
    identify(1, SERVER_NODE_ID)
    asked = Message(RecordDict(), dst_node_id=node, message_type="train")
    number_message(asked, "1")
    identify(1, node)
    if error is None:
        downlink.heard(Message(RecordDict(), reply_to=asked))
    else:
        downlink.heard(
            Message(Error(1, f"<class '...'>:<'{Refused(error.refusal, str(error))}'>"), reply_to=asked)
        )


def near(weights: Tensor, wanted: Tensor) -> bool:
    return bool((weights - wanted).abs().max() < 1e-3)


@pytest.mark.parametrize("kind", ["none", "float16", "int8", "int4"])
@pytest.mark.parametrize("delta", [False, True])
def test_weights_arrive(device: Device, kind: str, delta: bool) -> None:
    recipe = Recipe().override({"compression.down": kind, "compression.delta": delta})
    first = draws(1)
    later = first + draws(2, 1e-3)
    downlink = Downlink(recipe.compression, PARTITION, first)
    received = receive_weights(content(downlink, 7, 3, later), PARTITION, recipe, device)
    assert received.round == 3
    if kind == "none" and not delta:
        assert torch.equal(received.vector, later)
    else:
        assert (received.vector - later).abs().max() < (1e-3 if delta else 0.3)


def test_first_weights_come_once(device: Device) -> None:
    first, later = draws(1), draws(1) + draws(2, 1e-3)
    downlink = Downlink(RECIPE.compression, PARTITION, first)
    one = content(downlink, 7, 1, later)
    assert "anchor" in one.array_records
    receive_weights(one, PARTITION, RECIPE, device)
    answer(downlink, 7)
    two = content(downlink, 7, 2, later)
    assert "anchor" not in two.array_records
    assert near(receive_weights(two, PARTITION, RECIPE, device).vector, later)
    assert "anchor" in content(downlink, 8, 2, later).array_records


def test_a_device_that_lost_them_says_so_and_gets_them_again(device: Device) -> None:
    first, later = draws(1), draws(1) + draws(2, 1e-3)
    downlink = Downlink(RECIPE.compression, PARTITION, first)
    answer(downlink, 7)
    with pytest.raises(LacksAnchorError) as lacking:
        receive_weights(content(downlink, 7, 2, later), PARTITION, RECIPE, device)
    answer(downlink, 7, lacking.value)
    assert near(receive_weights(content(downlink, 7, 3, later), PARTITION, RECIPE, device).vector, later)


def test_another_failure_changes_nothing() -> None:
    downlink = Downlink(RECIPE.compression, PARTITION, draws(1))
    answer(downlink, 7)
    answer(downlink, 7, WireError("something else"))
    assert not downlink.brings_anchor(7)
    answer(downlink, 8, WireError("something else"))
    assert downlink.brings_anchor(8)


def test_the_packaged_base_is_sent_to_nobody(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    first, later = draws(1), draws(1) + draws(2, 1e-3)
    for module in (anchors, client.rounds.anchors):
        monkeypatch.setattr(module, "packaged_anchor", lambda: (weights_hash(first), first))
    downlink = Downlink(RECIPE.compression, PARTITION, first)
    sent = content(downlink, 7, 1, later)
    assert "anchor" not in sent.array_records
    assert near(receive_weights(sent, PARTITION, RECIPE, device).vector, later)
    answer(downlink, 7, LacksAnchorError("another version"))
    assert downlink.brings_anchor(7)
    assert not downlink.brings_anchor(8)


def test_damaged_first_weights_count_as_none(device: Device) -> None:
    downlink = Downlink(RECIPE.compression, PARTITION, draws(1))
    receive_weights(content(downlink, 7, 1, draws(1)), PARTITION, RECIPE, device)
    answer(downlink, 7)
    kept = next((device.home / "anchors").iterdir())
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(LacksAnchorError):
        receive_weights(content(downlink, 7, 2, draws(1)), PARTITION, RECIPE, device)


def test_other_first_weights_than_were_announced_are_refused(device: Device) -> None:
    one = content(Downlink(RECIPE.compression, PARTITION, draws(1)), 7, 1, draws(3))
    other = content(Downlink(RECIPE.compression, PARTITION, draws(2)), 7, 1, draws(3))
    one.array_records["anchor"] = other.array_records["anchor"]
    with pytest.raises(WireError, match="not those"):
        receive_weights(one, PARTITION, RECIPE, device)
    assert not (device.home / "anchors").exists()


def test_a_change_is_refused_where_the_recipe_says_whole(device: Device) -> None:
    sent = content(Downlink(RECIPE.compression, PARTITION, draws(1)), 7, 1, draws(3))
    whole = Recipe().override({"compression.down": "int8"})
    with pytest.raises(WireError, match="come whole"):
        receive_weights(sent, PARTITION, whole, device)


@pytest.mark.parametrize("digest", ["../../../etc/passwd", "", "a/b", "0" * 64])
def test_a_hash_is_no_path(device: Device, digest: str) -> None:
    sent = content(Downlink(RECIPE.compression, PARTITION, draws(1)), 7, 1, draws(3))
    sent.config_records["header"]["anchor"] = digest
    del sent["anchor"]
    with pytest.raises(LacksAnchorError):
        receive_weights(sent, PARTITION, RECIPE, device)
