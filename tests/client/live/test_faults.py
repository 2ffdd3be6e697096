"""A device that is killed at any moment loses no round, trains none twice to another end, and spends none twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from tiny_federation import tiny_model

sys.path.insert(0, str(Path(__file__).parent))
from live_device import bytes_of, device_of, digest_of, enrolled, joined, pid_of, question, status, until
from small_superlink import SmallSuperLink, superlink

from client.outbox import Outbox
from shared_models.config import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def link(tmp_path: Path):
    with superlink(tmp_path / "server") as running:
        running.submit()
        yield running


@pytest.fixture
def device(tmp_path: Path, link: SmallSuperLink) -> tuple[Path, Recipe]:
    home, recipe = device_of(tmp_path)
    enrolled(home, link)
    return home, recipe


def entries(home: Path) -> list[tuple[int, int]]:
    """What the ledger paid for: ``(round, steps)``."""
    with sqlite3.connect(home / "ledger.sqlite") as database:
        return list(database.execute("SELECT round, steps FROM spends ORDER BY id"))


def test_rounds_are_answered_and_what_is_asked_again_is_sent_again(link, device) -> None:
    home, recipe = device
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
    assert process.returncode == 0
    assert not link.online()
    assert status(home)["state"] == "stopped"


@pytest.mark.parametrize("child", ["worker", "supernode"])
def test_a_child_that_is_killed_while_training_answers_after_all(link, device, child: str) -> None:
    home, recipe = device
    with joined(home):
        node = link.wait_online()
        asked = link.ask(node, question(recipe, 1))
        until(lambda: (home / "ledger.sqlite").exists() and entries(home), what="training")
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


def test_a_device_that_is_killed_after_sending_goes_on_with_the_next_round(link, device) -> None:
    home, recipe = device
    with joined(home) as process:
        node = link.wait_online()
        bytes_of(link.reply(link.ask(node, question(recipe, 1))))
        process.kill()
        process.wait()
    with joined(home):
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
