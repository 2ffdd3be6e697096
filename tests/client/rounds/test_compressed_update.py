"""What leaves the device: within the clip with what was left over, again the same after a crash, never the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import task_of
from torch import Tensor, nn

from client.home.device import Device
from client.rounds.compressed_update import encode_update
from shared_models import wire
from shared_models.clipping import l2_norm
from shared_models.compression import update_codec
from shared_models.config import Recipe
from shared_models.partition import Owner, PartitionedModel

SIZE, CLIP = 400, 0.5


class Shared(nn.Module):
    belongs_to = Owner.SHARED

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(20, 20))


MODEL = PartitionedModel(Shared())


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device.create(tmp_path / "device", "me", [], tmp_path / "cache")


def recipe(**changes: Any) -> Recipe:
    chosen = {"compression.up": "top_k", "compression.share": 0.05, "compression.values": "float32"}
    private = {"privacy.mode": "central", "privacy.noise_multiplier": 1.0, "privacy.clipping_norm": CLIP}
    return Recipe().override(chosen | private | {k.replace("__", "."): v for k, v in changes.items()})


def draws(seed: int, norm: float) -> Tensor:
    vector = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    return vector * (norm / vector.norm())


def send(
    device: Device, number: int, vector: Tensor, own: Recipe, *, simulated: bool = True
) -> tuple[bytes, Tensor]:
    update = wire.Update(MODEL.partition.schema, number, vector.clone())
    header, buffer = encode_update(MODEL, update, device, task_of(own, number, 3, live=not simulated))
    codec = update_codec(own.compression, MODEL.partition)
    decoded = wire.decode(header, buffer, MODEL.partition, kind="update", round=number, codec=codec)
    return bytes(buffer), decoded.vector


def test_what_is_left_over_comes_with_the_next_update(device: Device) -> None:
    own, vector = recipe(), draws(1, 0.1)
    total = torch.zeros(SIZE)
    for number in range(1, 61):
        total += send(device, number, vector if number == 1 else torch.zeros(SIZE), own)[1]
    assert torch.allclose(total, vector, atol=1e-6)


def test_without_feedback_it_is_lost(device: Device) -> None:
    own = recipe(compression__feedback=0.0)
    send(device, 1, draws(1, 0.1), own)
    assert not send(device, 2, torch.zeros(SIZE), own)[1].any()
    assert not (device.home / "remainder").exists()


@pytest.mark.parametrize("kind", ["none", "float16", "int8", "int4", "int2", "low_rank", "top_k"])
def test_with_what_was_left_over_it_is_still_within_the_clip(device: Device, kind: str) -> None:
    own = recipe(compression__up=kind, compression__rank=2, compression__values="int8", compression__block=16)
    for number in range(1, 8):
        assert l2_norm(send(device, number, draws(number, 40.0), own)[1]) <= CLIP * (1 + 1e-6)


def test_what_clipping_took_is_not_kept(device: Device) -> None:
    """Else the remainder of a device whose updates always exceed the norm would grow without end."""
    for number in range(1, 20):
        send(device, number, draws(number, 1000.0), recipe())
    remainder = device.load_remainder("run", 20)
    assert remainder is not None
    assert l2_norm(remainder) <= CLIP


def test_a_round_that_is_trained_again_sends_the_same(device: Device) -> None:
    own = recipe(compression__values="int4")
    for number in (1, 2, 3):
        first = send(device, number, draws(number, 0.3), own)[0]
    later = send(device, 4, draws(4, 0.3), own)[0]
    # The server came back with its checkpoint of round 2.
    assert send(device, 3, draws(3, 0.3), own)[0] == first
    assert send(device, 4, draws(4, 0.3), own)[0] == later


def test_the_remainder_is_of_one_run_and_three_rounds_are_kept(device: Device) -> None:
    for number in range(1, 7):
        send(device, number, draws(number, 0.3), recipe())
    assert device.load_remainder("another run", 9) is None
    kept = sorted(path.stem for path in (device.home / "remainder").glob("*/round-*"))
    assert kept == ["round-00004", "round-00005", "round-00006"]


def test_a_damaged_remainder_costs_no_more_than_itself(device: Device) -> None:
    send(device, 1, draws(1, 0.3), recipe())
    (path,) = (device.home / "remainder").glob("*/round-00001.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    assert device.load_remainder("run", 2) is None
    send(device, 2, draws(2, 0.3), recipe())


def test_simulations_round_alike_and_real_devices_do_not(device: Device) -> None:
    own, vector = recipe(compression__up="int2"), draws(1, 0.3)
    assert send(device, 1, vector, own)[0] == send(device, 1, vector, own)[0]
    assert send(device, 1, vector, own)[0] != send(device, 2, vector, own)[0]
    live = {send(device, 1, vector, own, simulated=False)[0] for _ in range(3)}
    assert len(live) == 3
