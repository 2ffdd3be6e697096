"""The first weights that a device keeps: what a server calls them is no place on its disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from client.home.device import Device
from client.rounds.anchors import find_anchor
from shared_models.errors import LacksAnchorError
from shared_models.partition import weights_hash


@pytest.mark.parametrize("digest", ["../../outside", "a" * 5000, "", "nul\0", "/abs", "٣" * 64, "A" * 64])
def test_what_is_no_hash_is_looked_up_nowhere(tmp_path: Path, digest: str) -> None:
    device = Device.create(tmp_path / "home", "s", [], tmp_path / "cache")
    (device.home / "anchors").mkdir()
    save_file({"weights": torch.ones(3)}, tmp_path / "outside.safetensors")
    with pytest.raises(LacksAnchorError):
        find_anchor(device, digest, None)


def test_what_was_sent_once_is_found_by_its_hash(tmp_path: Path) -> None:
    device, weights = Device.create(tmp_path / "home", "s", [], tmp_path / "cache"), torch.rand(5)
    find_anchor(device, weights_hash(weights), weights)
    assert torch.equal(find_anchor(device, weights_hash(weights), None), weights)
