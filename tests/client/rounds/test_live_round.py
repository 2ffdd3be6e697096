"""A round on a device's own terms, in one process: policy, stale copies, the outbox, a full disk."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from live_device import Made, allow, ask, bytes_of, device_of, question
from tiny_federation import tiny_model

from client import app as device_app
from client.home import ledger_anchor
from client.rounds import live_round
from shared_models.errors import DeclinedError, FedVoiceError, StorageError

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return device_of(tmp_path_factory.mktemp("live"))


def entries(home: Path) -> int:
    with sqlite3.connect(home / "ledger.sqlite") as database:
        return int(database.execute("SELECT count(*) FROM spends").fetchone()[0])


def test_what_is_asked_again_is_neither_trained_nor_spent_again(
    device: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, recipe = device
    first = bytes_of(ask(home, question(recipe)))
    monkeypatch.setattr(device_app, "train_device", lambda *_: pytest.fail("trained again"))
    assert bytes_of(ask(home, question(recipe, attempt=1))) == first
    assert entries(home) == 1


def test_a_full_disk_is_told_and_costs_nothing_twice(device: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    home, recipe = device

    def full(*_: Any) -> None:
        raise StorageError("the disk that holds a-private-place is full")

    with monkeypatch.context() as patch:
        patch.setattr("client.rounds.outbox.write_atomically", full)
        with pytest.raises(FedVoiceError, match="disk is full") as caught:
            ask(home, question(recipe))
        assert "a-private-place" not in str(caught.value)
    assert entries(home) == 1
    assert not list((home / "outbox").rglob("round-*"))
    bytes_of(ask(home, question(recipe)))
    assert entries(home) == 1


def test_a_ledger_that_cannot_be_written_lets_nothing_leave(
    device: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, recipe = device

    def full(*_: Any) -> None:
        raise StorageError("the ledger cannot be written")

    monkeypatch.setattr(live_round, "reserve_round", lambda *_, **__: full())
    monkeypatch.setattr(device_app, "train_device", lambda *_: pytest.fail("trained without having paid"))
    with pytest.raises(FedVoiceError, match="disk is full"):
        ask(home, question(recipe))


def test_files_restored_from_a_backup_are_refused(device: Made, tmp_path: Path) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    shutil.copytree(home, tmp_path / "backup")
    bytes_of(ask(home, question(recipe, 2)))
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "backup", home)
    with pytest.raises(FedVoiceError, match="StaleCopyError") as caught:
        ask(home, question(recipe, 3, seen=2))
    assert str(home) not in str(caught.value)
    # On another computer there is no anchor, and the server's count tells.
    shutil.rmtree(ledger_anchor.state_folder())
    with pytest.raises(FedVoiceError, match="StaleCopyError"):
        ask(home, question(recipe, 3, seen=2))
    bytes_of(ask(home, question(recipe, 2, seen=1)))


def test_an_older_ledger_is_refused_though_the_server_knows_of_nothing(device: Made, tmp_path: Path) -> None:
    """A server that came back from a backup itself, or that lies, says that it never counted this device."""
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    shutil.copytree(home, tmp_path / "backup")
    bytes_of(ask(home, question(recipe, 2)))
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "backup", home)
    with pytest.raises(FedVoiceError, match="StaleCopyError"):
        ask(home, question(recipe, 3, seen=-1))
    assert "is an older copy" in (home / "training.jsonl").read_text()
    assert entries(home) == 1


@pytest.mark.parametrize(
    ("policy", "changes", "field"),
    [
        ('allowed_shared = ["decoder.*"]', {}, "allowed_shared"),
        ("maximum_numbers = 9", {}, "maximum_numbers"),
        ("minimum_noise_multiplier = 2.0", {}, "minimum_noise_multiplier"),
        ("maximum_clipping_norm = 0.4", {}, "maximum_clipping_norm"),
        ("", {"privacy.mode": "none", "privacy.noise_multiplier": None}, "modes"),
    ],
    ids=["another tensor", "too many numbers", "too little noise", "too large a clip", "no privacy"],
)
def test_what_the_owner_does_not_allow_is_declined_untrained_and_unpaid(
    device: Made, monkeypatch: pytest.MonkeyPatch, policy: str, changes: dict[str, Any], field: str
) -> None:
    home, recipe = device
    (home / "policy.toml").write_text(
        f"epsilon_per_run = 100.0\ntotal_epsilon = 100.0\nminimum_batch = 1\nminimum_cohort = 1\n{policy}\n"
    )
    monkeypatch.setattr(device_app, "train_device", lambda *_: pytest.fail("trained though declined"))
    with pytest.raises(DeclinedError, match=rf"^\[declined\] policy {field}"):
        ask(home, question(recipe.override(changes)))
    assert not (home / "ledger.sqlite").exists() or entries(home) == 0


def test_a_reply_says_what_was_agreed_and_no_more(device: Made) -> None:
    home, recipe = device
    reply = ask(home, question(recipe))
    assert set(reply.content) == {"header", "shared"}
    assert set(reply.content["header"]) == {"kind", "schema", "round", "size", "dtype"}
    assert set(reply.content["shared"]) == {"shared"}
    assert len(bytes_of(reply)) == 4 * tiny_model(recipe).partition.size


def test_the_owner_reads_in_full_what_the_server_reads_in_part(device: Made) -> None:
    home, recipe = device
    with pytest.raises(FedVoiceError, match="StaleCopyError"):
        ask(home, question(recipe, 3, seen=2))
    assert "they are an older copy" in (home / "training.jsonl").read_text()


def test_the_budget_is_named_and_what_was_spent_is_not(device: Made) -> None:
    home, recipe = device
    allow(home, total_epsilon=5.5, epsilon_per_run=100.0)
    bytes_of(ask(home, question(recipe, 1)))
    with pytest.raises(DeclinedError, match=r"policy total_epsilon.*5\.5") as caught:
        ask(home, question(recipe, 2))
    assert "spent" not in str(caught.value)
    assert entries(home) == 1


def test_more_threads_than_the_owner_gives_are_not_taken(device: Made) -> None:
    home, recipe = device
    allow(home, cpu_threads=1, epsilon_per_run=100.0)
    opened = live_round.LiveRound.open
    from client.home.device import Device

    asked = recipe.override({"engine.threads": 8})
    header = dict(question(asked).config_records["header"])
    assert opened(Device.open(home), asked, header).on_owners_terms.engine.threads == 1


def test_recordings_that_vanish_or_break_after_joining_are_named_to_their_owner_and_left_out(
    device: Made,
) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    described = json.loads((home / "recordings.json").read_text())["recordings"]
    files = [Path(recording["audio"]) for recording in described]
    kept = {path: path.read_bytes() for path in files}
    try:
        files[0].unlink()
        files[1].write_bytes(kept[files[1]][:400])
        assert bytes_of(ask(home, question(recipe, 2)))
        told = json.loads((home / "training.jsonl").read_text().splitlines()[-1])
        assert [path.name in reason for path, reason in zip(files, told["left_out"], strict=False)] == [
            True,
            True,
        ]
        for path in files:
            path.unlink(missing_ok=True)
        with pytest.raises(FedVoiceError, match="no usable recordings") as caught:
            ask(home, question(recipe, 3))
        assert files[0].name not in str(caught.value)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
