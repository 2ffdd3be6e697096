"""A device that is killed at any moment loses no round, trains none twice to another end, and spends none twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_device import bytes_of, device_of, digest_of, enrolled, joined, pid_of, question, status, until
from open_files import open_to_others
from small_superlink import SmallSuperLink, superlink
from tiny_federation import tiny_model

from client.rounds.outbox import Outbox
from shared_models.config import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def link(tmp_path: Path):
    with superlink(tmp_path / "server") as running:
        running.submit()
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    return device_of(tmp_path_factory.mktemp("device"))


@pytest.fixture
def device(made: tuple[Path, Recipe], tmp_path: Path, link: SmallSuperLink) -> tuple[Path, Recipe]:
    home, recipe = tmp_path / "home", made[1]
    shutil.copytree(made[0], home)
    enrolled(home, link)
    return home, recipe


def entries(home: Path) -> list[tuple[int, int]]:
    """What the ledger paid for: ``(round, steps)``."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{home / 'ledger.sqlite'}?mode=ro", uri=True)
        ) as database:
            return list(database.execute("SELECT round, steps FROM spends ORDER BY id"))
    except sqlite3.OperationalError:
        return []  # It is being made.


def test_rounds_are_answered_and_what_is_asked_again_is_sent_again(link, device) -> None:
    home, recipe = device
    for path in (home, home / "policy.toml"):
        path.chmod(0o777)  # As a home of before files were private.
    with joined(home) as process:
        node = link.wait_online()
        first = link.reply(link.ask(node, question(recipe, 1)))
        again = link.reply(link.ask(node, question(recipe, 1, attempt=1)))
        assert bytes_of(first) == bytes_of(again)
        assert len(bytes_of(first)) == 4 * tiny_model(recipe).partition.size
        assert entries(home) == [(1, 1)]
        bytes_of(link.reply(link.ask(node, question(recipe, 2, seen=1), group="2")))
        assert entries(home) == [(1, 1), (2, 1)]
        size = 2 * len(bytes_of(first))
        shown = until(
            lambda: (s := status(home)).get("last_round") == 2 and s["sent"] > size and s, what="status"
        )
        assert shown["update_numbers"] == tiny_model(recipe).partition.size
        assert shown["epsilon"] > 0
        assert shown["epsilon_left"] < 50
        assert open_to_others(home) == []
        assert open_to_others(home.parent / "state" / "fedvoice") == []
    assert open_to_others(home) == []
    assert process.returncode == 0
    assert not link.online()
    assert status(home)["state"] == "stopped"


@pytest.mark.parametrize("child", ["worker", "supernode"])
def test_a_child_that_is_killed_while_training_answers_after_all(link, device, child: str) -> None:
    home, recipe = device
    with joined(home):
        node = link.wait_online()
        asked = link.ask(node, question(recipe, 1))
        until(lambda: entries(home), what="training")
        os.kill(pid_of(home, child), signal.SIGKILL)
        bytes_of(link.reply(asked))
        assert entries(home) == [(1, 1)]
        assert status(home)["restarts"] >= 1


def test_a_device_that_is_killed_whole_before_it_trains_answers_when_it_is_back(link, device) -> None:
    home, recipe = device
    with joined(home) as process:
        node = link.wait_online()
        link.swallow.add("pull-object")
        asked = link.ask(node, question(recipe, 1))
        until(lambda: (home / "live" / "inbox.json").exists(), what="a message in hand")
        process.kill()
        process.wait()
    link.swallow.clear()
    with joined(home):
        bytes_of(link.reply(asked))


@pytest.mark.parametrize("lost", ["push-messages", "push-object"])
def test_a_device_that_is_killed_in_the_middle_of_sending_sends_the_same(link, device, lost: str) -> None:
    home, recipe = device
    content = question(recipe, 1)
    with joined(home) as process:
        node = link.wait_online()
        link.swallow.add(lost)
        asked = link.ask(node, content)
        kept = until(
            lambda: Outbox(home / "outbox").find("run", 1, digest_of(content)), what="a reply in the outbox"
        )
        until(lambda: lost in link.calls, what="an attempt to send")
        process.kill()
        process.wait()
    link.swallow.clear()
    with joined(home):
        assert bytes_of(link.reply(asked)) == kept.arrays["shared"][2]
        assert entries(home) == [(1, 1)]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "alive"])
def test_who_may_have_lost_a_message_on_its_way_comes_online_anew(link, device, killed: bool) -> None:
    """The server hands a message out once; a device that comes online anew is asked again."""
    home, recipe = device
    content = question(recipe, 1)
    with joined(home) as process:
        node = link.wait_online()
        before = link.activated_at(node)
        link.lose.add("pull-messages")
        lost = link.ask(node, content)
        until(lambda: link.lost_bytes, what="a message that gets lost")
        if killed:
            process.kill()
            process.wait()
        link.lose.clear()
        with joined(home) if killed else contextlib.nullcontext():
            until(lambda: link.activated_at(node) > before, what="the device comes online anew")
            bytes_of(link.reply(link.ask(node, content)))
            assert link.take(lost) is None


def test_a_run_that_ends_while_its_message_is_fetched_does_not_hold_up_the_next(link, device) -> None:
    home, recipe = device
    with joined(home):
        node = link.wait_online()
        link.over.add("pull-object")
        link.ask(node, question(recipe, 1))
        until(lambda: "pull-object" in link.calls, what="an attempt to fetch it")
        until(lambda: link.calls[-1] == "pull-messages", what="the next request for a message")
        link.over.clear()
        bytes_of(link.reply(link.ask(node, question(recipe, 1, attempt=1)), seconds=60))


def test_a_device_that_is_killed_after_sending_goes_on_with_the_next_round(link, device) -> None:
    home, recipe = device
    with joined(home) as process:
        node = link.wait_online()
        before = link.activated_at(node)
        bytes_of(link.reply(link.ask(node, question(recipe, 1))))
        # The answer is noted as given once the next message is asked for.
        until(lambda: not (home / "live" / "inbox.json").exists(), what="an empty inbox")
        process.kill()
        process.wait()
    with joined(home):
        until(lambda: link.activated_at(node) > before, what="the device comes online anew")
        bytes_of(link.reply(link.ask(node, question(recipe, 2, seen=1), group="2")))
        assert entries(home) == [(1, 1), (2, 1)]


def test_a_server_that_goes_away_and_comes_back_is_found_again(link, device) -> None:
    home, recipe = device
    with joined(home):
        node = link.wait_online()
        bytes_of(link.reply(link.ask(node, question(recipe, 1))))
        with link.away():
            asked = link.ask(node, question(recipe, 2), group="2")
        bytes_of(link.reply(asked))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("SKIPPED FOR LACK OF RIGHTS: a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_loses_nothing_and_the_device_goes_on_when_there_is_space(
    link, made, tmp_path: Path, small_disk: Path
) -> None:
    home, recipe = small_disk / "home", made[1]
    shutil.copytree(made[0], home)
    enrolled(home, link)
    with joined(home, XDG_STATE_HOME=str(tmp_path / "state")):
        node = link.wait_online()
        first = bytes_of(link.reply(link.ask(node, question(recipe, 1))))
        with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        said = link.reply(link.ask(node, question(recipe, 2), group="2"))
        assert said.has_error()
        assert "disk is full" in str(said.error.reason)
        # Even now: what was asked before needs no space.
        assert bytes_of(link.reply(link.ask(node, question(recipe, 1, attempt=1)))) == first
        (small_disk / "ballast").unlink()
        bytes_of(link.reply(link.ask(node, question(recipe, 2, attempt=1), group="2")))
        assert [number for number, steps in entries(home) if steps] == [1, 2]


def test_a_device_that_the_server_no_longer_wants_says_so_and_comes_back_when_it_may(link, device) -> None:
    home, recipe = device
    with joined(home):
        node = link.wait_online()
        before = link.activated_at(node)
        link.refuse = (403, "this device was revoked by the operator")
        shown = until(lambda: (s := status(home)).get("state") == "refused" and s, what="the refusal")
        assert "revoked by the operator" in shown["problem"]
        # It tries again ever less often, and says so all the while.
        until(
            lambda: (s := status(home))["restarts"] >= 2 and s["state"] == "refused", what="another refusal"
        )
        link.refuse = None
        until(lambda: link.activated_at(node) > before, what="the device comes online anew")
        bytes_of(link.reply(link.ask(node, question(recipe, 1))))
