"""Who took part lies beside the checkpoints: none of it is in what people pass on, and a server finds it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save

from server.checkpoints import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from server.participation import participation_folder

COUNTED = {4711: 3, 4712: 1}
REPORT = {"clients": 4713, "dropped_devices": {"4714": "too slow"}, "seconds": 4715.5}


def _saved(folder: Path, number: int = 3) -> Path:
    weights = torch.randn(5, generator=torch.Generator().manual_seed(number))
    return save_checkpoint(
        folder, Checkpoint(number, weights, "schema", "{}", counted=COUNTED, report=REPORT)
    )


def test_a_checkpoint_that_is_passed_on_does_not_say_who_took_part(tmp_path: Path) -> None:
    path = _saved(tmp_path / "checkpoints")
    for told in (b"counted", b"report", b"clients", b"471", b"dropped"):
        assert told not in path.read_bytes()
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == [path.name]


def test_the_server_itself_finds_it_again(tmp_path: Path) -> None:
    found = load_checkpoint(_saved(tmp_path / "checkpoints"))
    assert (found.counted, found.report) == (COUNTED, REPORT)


def test_it_is_kept_for_as_many_rounds_as_the_checkpoints_are(tmp_path: Path) -> None:
    for number in (1, 2, 3, 9):
        _saved(tmp_path / "checkpoints", number)
    kept = sorted(path.name for path in participation_folder(tmp_path / "checkpoints").iterdir())
    assert kept == ["round-00003.json", "round-00009.json"]


def test_elsewhere_damaged_or_of_other_weights_it_is_not_known(tmp_path: Path) -> None:
    path = _saved(tmp_path / "checkpoints")
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "given" / "checkpoints")
    assert load_checkpoint(tmp_path / "given" / "checkpoints" / path.name).counted == {}
    beside = participation_folder(tmp_path / "checkpoints") / "round-00003.json"
    whole = json.loads(beside.read_text())
    for wrong in ("{", "[]", json.dumps(whole | {"weights": "0" * 64}), json.dumps(whole | {"counted": []})):
        beside.write_text(wrong)
        found = load_checkpoint(path)
        assert (found.counted, found.report) == ({}, None)


def test_a_checkpoint_of_before_has_it_inside_and_is_gone_on_from(tmp_path: Path) -> None:
    header = {
        "format": FORMAT, "round": "3", "schema": "s", "recipe": "{}", "accountant": "null",
        "counted": json.dumps(COUNTED), "report": json.dumps(REPORT),
    }  # fmt: skip
    path = tmp_path / "round-00003.safetensors"
    path.write_bytes(save({"weights": torch.zeros(2)}, header))
    found = load_checkpoint(path)
    assert (found.counted, found.report) == (COUNTED, REPORT)
    del header["counted"], header["report"]
    path.write_bytes(save({"weights": torch.zeros(2)}, header))
    assert load_checkpoint(path).counted == {}
