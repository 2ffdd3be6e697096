"""What FedVoice writes is its owner's alone, whatever the umask, and what was open before is shut."""

from __future__ import annotations

import sqlite3
import stat
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_files import open_to_others, umask

from client.home.device import Device
from client.home.ledger import Ledger
from client.home.ledger_anchor import LedgerAnchor
from client.live.holding import only_one
from client.live.home import Membership, superexec_secret
from client.live.inbox import Inbox
from client.live.keys import DeviceKey
from client.live.status import Noticeboard
from client.rounds.outbox import Letter, Outbox
from server.checkpoints import Checkpoint, save_checkpoint
from server.live.home import ServerHome, Settings
from server.live.journal import Journal
from server.live.refusals import Refusals
from server.live.registry import Registry
from shared_models.config import Recipe
from shared_models.errors import StorageError
from shared_models.files import append_line, write_atomically
from shared_models.private_files import private_folder, shut_home
from shared_models.supervision import Child
from shared_models.utterance import Utterance

UMASKS = [0o000, 0o022, 0o077, 0o777]


@pytest.mark.parametrize("mask", UMASKS)
def test_a_devices_home_is_its_owners_alone(tmp_path: Path, mask: int) -> None:
    home = tmp_path / "deep" / "home"
    with umask(mask):
        device = Device.create(home, "a", [Utterance("u", "a", Path("a.wav"), "hm")], home / "features")
        device.save_personal("run", 1, {"voice": torch.zeros(2)})
        device.save_remainder("run", 1, torch.zeros(2))
        device.log({"loss": 1.0})
        ledger = Ledger(device.ledger_path, 8.0, 1e-5)
        ledger.history()
        LedgerAnchor("name", home / "state").move(ledger)
        Outbox(home / "outbox").put("run", 1, "w", Letter({}, {"shared": ((1,), "f", b"1234")}))
        Membership("s:1", 0, 1, "f", "run", "n").save(home)
        Inbox(home / "live" / "inbox.json").save(b"message")
        Noticeboard(home / "live", "worker").note(state="waiting")
        superexec_secret(home)
        DeviceKey.of(home)
        with only_one(home):
            child = Child("c", [sys.executable, "-c", "print('heard')"], home / "logs" / "c.log")
            child.start()
            assert child._process is not None
            child._process.wait(60)
            with sqlite3.connect(device.ledger_path) as database:
                database.execute("CREATE TABLE more (x)")
                assert {path.name for path in home.glob("ledger*")} > {"ledger.sqlite", "ledger.sqlite-wal"}
                assert open_to_others(home.parent) == []
            database.close()
    for path in home.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


@pytest.mark.parametrize("mask", UMASKS)
def test_a_servers_home_is_its_operators_alone(tmp_path: Path, mask: int) -> None:
    home = ServerHome(tmp_path / "deep" / "server")
    with umask(mask):
        home.create(Settings("f", ("h:1",), "h:1", 2, "run", 8), Recipe())
        registry = Registry(home.registry)
        registry.invite(b"s", 2**40)
        with registry._connection() as connection:
            connection.execute("SELECT * FROM invitations").fetchall()
            assert {path.name for path in home.folder.glob("registry*")} > {"registry.sqlite"}
            assert open_to_others(home.folder.parent) == []
        with home.lock():
            Journal(home.folder, 3).note(state="waiting")
        Refusals(home.path("refusals.jsonl")).note("kind", "reason", peer="p", path="/")
        save_checkpoint(home.checkpoints, Checkpoint(1, torch.zeros(2), "s", "{}", counted={0: 1}))
    assert open_to_others(home.folder.parent) == []


def test_a_home_of_before_is_shut_and_its_owner_keeps_every_right(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(0o755)
    (outside / "theirs").write_text("x")
    (outside / "theirs").chmod(0o644)
    home = tmp_path / "home"
    (home / "personal" / "run").mkdir(parents=True)
    for path, mode in (
        (home / "tool", 0o755),
        (home / "personal" / "run" / "voice", 0o644),
        (home / "read", 0o444),
    ):
        path.write_text("x")
        path.chmod(mode)
    (home / "link").symlink_to(outside)
    (home / "link to file").symlink_to(outside / "theirs")
    for folder in (home, home / "personal", home / "personal" / "run"):
        folder.chmod(0o777)
    assert shut_home(home) == 6
    assert open_to_others(home) == []
    assert stat.S_IMODE((home / "tool").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "read").stat().st_mode) == 0o400
    assert len(open_to_others(outside)) == 2
    assert shut_home(home) == 0
    assert shut_home(tmp_path / "nowhere") == 0


def test_a_file_that_was_open_is_shut_when_it_is_written_again(tmp_path: Path) -> None:
    for name, write in (("a", lambda p: write_atomically(p, "x")), ("b", lambda p: append_line(p, "x"))):
        path = tmp_path / name
        path.write_text("")
        path.chmod(0o666)
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ledger = tmp_path / "ledger.sqlite"
    Ledger(ledger, 8.0, 1e-5).history()
    ledger.chmod(0o664)
    Ledger(ledger, 8.0, 1e-5).history()
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600


@settings(max_examples=20)
@given(st.sampled_from(UMASKS), st.integers(1, 4))
def test_folders_that_are_there_keep_their_mode(
    tmp_path_factory: pytest.TempPathFactory, mask: int, depth: int
) -> None:
    there = tmp_path_factory.mktemp("shared")
    there.chmod(0o755)
    with umask(mask):
        private_folder(there.joinpath(*["x"] * depth))
        private_folder(there.joinpath(*["x"] * depth))
    assert stat.S_IMODE(there.stat().st_mode) == 0o755
    assert open_to_others(there / "x") == []


def test_a_file_where_a_folder_is_needed_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "b" / "c"):
        with pytest.raises(StorageError, match="folder is needed"):
            write_atomically(path, "x")
