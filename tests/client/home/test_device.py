"""A device's home: what a voice has become survives rounds, runs, restarts and kills."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from client.home.device import Device
from shared_models.errors import CorpusError
from shared_models.utterance import Utterance


def voice(value: float) -> dict[str, Tensor]:
    return {"voices.embedding.weight": torch.full((1, 16), value), "voices.prosody.weight": torch.ones(1, 4)}


def value_of(state: dict[str, Tensor] | None) -> float | None:
    return None if state is None else float(state["voices.embedding.weight"][0, 0])


def folder_of(device: Device, run: str = "run") -> Path:
    """Where the personal sets of a run are."""
    return device.home / "personal" / f"run-{hashlib.sha256(run.encode()).hexdigest()[:32]}"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    said = Utterance(
        "u1", "ann", tmp_path / "u1.wav", "Hello.", seconds=1.5, alignment=tmp_path / "u1.phones"
    )
    other = Utterance(
        "u2", "ann", tmp_path / "ü 2.wav", "你好。", language="zh", split="test", role="support"
    )
    return Device.create(tmp_path / "home", "ann", [said, other], tmp_path / "cache")


def test_a_home_opens_as_it_was_made(device: Device) -> None:
    assert Device.open(device.home) == device


def test_a_folder_that_is_no_home_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nowhere is not a device's home"):
        Device.open(tmp_path / "nowhere")
    (tmp_path / "recordings.json").write_text('{"speaker": "ann", "recor')
    with pytest.raises(CorpusError, match="no readable recordings"):
        Device.open(tmp_path)


def test_a_fresh_device_has_no_voice_yet(device: Device) -> None:
    assert device.load_personal("run", 1) is None


def test_a_round_goes_on_from_the_round_before_also_after_rounds_without_it(device: Device) -> None:
    device.save_personal("run", 1, voice(1))
    assert value_of(device.load_personal("run", 2)) == 1
    assert value_of(device.load_personal("run", 9)) == 1
    device.save_personal("run", 9, voice(9))
    assert value_of(device.load_personal("run", 10)) == 9


def test_a_round_that_is_trained_again_starts_where_it_started_first(device: Device) -> None:
    for number in (1, 2, 3):
        device.save_personal("run", number, voice(number))
    assert value_of(device.load_personal("run", 3)) == 2
    device.save_personal("run", 3, voice(33))
    assert value_of(device.load_personal("run", 3)) == 2
    assert value_of(device.load_personal("run", 4)) == 33


def test_the_first_round_that_is_trained_again_starts_afresh(device: Device) -> None:
    device.save_personal("run", 1, voice(1))
    assert device.load_personal("run", 1) is None


def test_going_back_one_checkpoint_in_mid_round_finds_the_state_of_then(device: Device) -> None:
    # The server keeps two checkpoints: killed in round 5 with that of round 4 damaged, it trains 4 again.
    for number in range(1, 6):
        device.save_personal("run", number, voice(number))
    assert value_of(device.load_personal("run", 4)) == 3


def test_a_new_run_starts_where_the_last_one_ended_and_does_so_again(device: Device) -> None:
    device.save_personal("first", 4, voice(4))
    device.save_personal("second", 2, voice(2))
    for run, stamp in (("first", 2_000), ("second", 1_000)):
        (file,) = folder_of(device, run).glob("*")
        os.utime(file, (stamp, stamp))
    assert value_of(device.load_personal("third", 1)) == 4
    # What the other runs do from now on changes nothing for a first round that is trained again.
    device.save_personal("second", 3, voice(3))
    assert value_of(device.load_personal("third", 1)) == 4
    device.save_personal("third", 1, voice(10))
    assert value_of(device.load_personal("third", 1)) == 4
    assert value_of(device.load_personal("third", 2)) == 10


def test_runs_do_not_mix(device: Device) -> None:
    device.save_personal("a", 1, voice(1))
    device.save_personal("b", 1, voice(2))
    assert value_of(device.load_personal("a", 2)) == 1
    assert value_of(device.load_personal("b", 2)) == 2


def test_it_lasts_into_another_process(device: Device) -> None:
    device.save_personal("run", 1, voice(0.25))
    code = (
        "import sys; from pathlib import Path; from client.home.device import Device\n"
        "device = Device.open(Path(sys.argv[1])); state = device.load_personal('run', 2)\n"
        "print(float(state['voices.embedding.weight'].sum())); device.save_personal('run', 2, state)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(device.home)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == 4.0
    assert value_of(Device.open(device.home).load_personal("run", 3)) == 0.25


def test_setting_a_home_up_again_keeps_the_voice(device: Device) -> None:
    device.save_personal("run", 1, voice(1))
    again = Device.create(device.home, "ann", device.recordings[:1], device.feature_cache)
    assert len(Device.open(device.home).recordings) == 1
    assert value_of(again.load_personal("run", 2)) == 1


def test_old_rounds_are_pruned(device: Device) -> None:
    for number in range(1, 30):
        device.save_personal("run", number, voice(number))
    assert len(list(folder_of(device).iterdir())) <= 3


def test_killed_between_saving_and_pruning(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        device.save_personal("run", number, voice(number))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            device.save_personal("run", 4, voice(4))
    reopened = Device.open(device.home)
    assert value_of(reopened.load_personal("run", 4)) == 3
    assert value_of(reopened.load_personal("run", 5)) == 4
    reopened.save_personal("run", 5, voice(5))
    assert value_of(reopened.load_personal("run", 6)) == 5
    assert len(list(folder_of(device).iterdir())) <= 3


def test_killed_while_saving(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.save_personal("run", 1, voice(1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            device.save_personal("run", 2, voice(2))
    assert value_of(device.load_personal("run", 3)) == 1


def test_a_damaged_voice_is_named_and_not_replaced_by_a_fresh_one(device: Device) -> None:
    device.save_personal("run", 1, voice(1))
    (file,) = folder_of(device).glob("round-*")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CorpusError, match="round-00001"):
        device.load_personal("run", 2)


def test_a_file_of_someone_else_in_the_folder_is_no_round(device: Device) -> None:
    device.save_personal("run", 1, voice(1))
    save_file(voice(5), folder_of(device) / ".round-00002.safetensors.99.partial")
    assert value_of(device.load_personal("run", 3)) == 1


def test_the_log_survives_a_line_that_a_kill_tore(device: Device) -> None:
    device.log({"run": "run", "round": 1, "outer": [1.0]})
    path = device.home / "training.jsonl"
    path.write_bytes(path.read_bytes() + b'{"run": "run", "rou')
    device.log({"run": "run", "round": 2, "outer": [0.5]})
    assert [json.loads(line)["round"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_voice_of_another_model_is_not_adopted(tmp_path: Path) -> None:
    device = Device.create(tmp_path / "home", "s", [], tmp_path / "cache")
    fits, wider = (
        {"voices.embedding.weight": torch.ones(1, 8)},
        {"voices.embedding.weight": torch.ones(1, 16)},
    )
    device.save_personal("first", 1, fits)
    device.save_personal("second", 1, wider)
    adopted = device.load_personal("third", 1, like=fits)
    assert adopted is not None
    assert adopted["voices.embedding.weight"].shape == (1, 8)
    assert device.load_personal("fourth", 1, like={"voices.embedding.weight": torch.ones(1, 32)}) is None


HOSTILE = [
    "../../../up",
    "/abs",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "x" * 5000,
    "nul\0",
    "-rf",
    "~",
    "line\nbreak",
    "CON",
]


@pytest.mark.parametrize("run", HOSTILE)
def test_a_runs_name_is_no_place_on_the_disk(device: Device, run: str) -> None:
    before = {path for path in device.home.parent.parent.rglob("*") if device.home not in path.parents}
    device.save_personal(run, 1, voice(1))
    device.save_remainder(run, 1, torch.ones(3))
    assert value_of(device.load_personal(run, 2)) == 1
    assert device.load_remainder(run, 2) is not None
    assert device.last_round(run) == 1
    after = {path for path in device.home.parent.parent.rglob("*") if device.home not in path.parents}
    assert after == before
    for kind in ("personal", "remainder"):
        (folder,) = (device.home / kind).iterdir()
        assert folder.name.startswith("run-")


def test_the_files_of_an_older_version_are_found(device: Device) -> None:
    older = device.home / "personal" / "first-run_1.2"
    older.mkdir(parents=True)
    save_file(voice(3), older / "round-00003.safetensors")
    assert value_of(device.load_personal("first-run_1.2", 4)) == 3
    assert not older.exists()
    device.save_personal("first-run_1.2", 4, voice(4))
    assert value_of(device.load_personal("first-run_1.2", 4)) == 3
    assert value_of(device.load_personal("next", 1)) == 4


def test_a_run_cannot_take_anothers_files_by_calling_itself_like_their_folder(device: Device) -> None:
    device.save_personal("mine", 1, voice(1))
    taken = folder_of(device, "mine").name
    assert device.last_round(taken) == -1
    device.save_personal(taken, 1, voice(2))
    assert value_of(device.load_personal("mine", 2)) == 1


def test_a_private_run_starts_from_zero_or_from_what_its_own_ledger_paid_for(device: Device) -> None:
    device.save_personal("plain", 1, voice(1))
    assert device.load_personal("private", 1, paid_by="ledger") is None
    device.save_personal("paid", 1, voice(2), paid_by="ledger")
    device.save_personal("paid by another", 1, voice(3), paid_by="another ledger")
    assert value_of(device.load_personal("private two", 1, paid_by="ledger")) == 2
    # And again, whatever the other runs have done since.
    device.save_personal("paid", 2, voice(4), paid_by="ledger")
    assert value_of(device.load_personal("private two", 1, paid_by="ledger")) == 2


def test_a_private_round_does_not_go_on_from_rounds_of_its_run_that_were_not(device: Device) -> None:
    device.save_personal("run", 1, voice(1), paid_by="ledger")
    device.save_personal("run", 2, voice(2))
    assert value_of(device.load_personal("run", 3, paid_by="ledger")) == 1
    assert value_of(device.load_personal("run", 3)) == 2
    device.save_personal("other", 1, voice(3))
    assert device.load_personal("other", 2, paid_by="ledger") is None


def test_a_run_that_adopted_an_unpaid_voice_does_not_start_from_it_once_it_is_private(device: Device) -> None:
    device.save_personal("first", 1, voice(1))
    assert value_of(device.load_personal("second", 1)) == 1
    assert device.load_personal("second", 1, paid_by="ledger") is None


def test_a_run_without_privacy_may_go_on_from_any_voice(device: Device) -> None:
    device.save_personal("paid", 1, voice(2), paid_by="ledger")
    assert value_of(device.load_personal("plain", 1)) == 2
