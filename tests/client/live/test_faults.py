"""A device that is killed at any moment loses no round, trains none twice to another end, and spends none twice.

The tests of this file share one device, since its start takes longer than what most of them ask of it. Each begins with
the device online and a network without faults, and with a round of its own.
"""

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
from flwr.app import RecordDict
from live_device import bytes_of, device_of, digest_of, enrolled, joined, pid_of, question, status, until
from open_files import open_to_others
from small_superlink import SmallSuperLink, superlink
from tiny_federation import tiny_model

from client.rounds.outbox import Outbox
from server.live.flower_run import UNHEARD
from shared_models.config import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Life:
    """One device that lives through the tests of this file, each of which asks it of a round of its own or two."""

    def __init__(self, folder: Path, home: Path, link: SmallSuperLink, recipe: Recipe) -> None:
        self.home, self.link, self.recipe = home, link, recipe
        self.round = 0
        self.state = folder / "state"
        self._starts = contextlib.ExitStack()

    def start(self) -> None:
        """``fedvoice join``, for the first time or after it was killed."""
        started = joined(self.home, XDG_STATE_HOME=str(self.state))
        self.process = self._starts.enter_context(started)

    def kill(self) -> None:
        """End ``fedvoice join`` as a loss of power does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it as Ctrl-C does; nothing may be left behind."""
        self._starts.close()

    def next_round(self) -> None:
        """The round after the last, for a device that is online and a network without faults."""
        for faults in (self.link.swallow, self.link.over, self.link.lose):
            faults.clear()
        self.link.refuse = None
        if self.process.poll() is not None:
            self.start()
        self.node = self.link.wait_online()
        until(lambda: not (self.home / "live" / "inbox.json").exists(), what="an empty inbox")
        self.round += 1
        self.link.calls.clear()
        self.link.lost_bytes = 0

    def question(self, **fields: int) -> RecordDict:
        """What is asked in this round; the one before was counted."""
        return question(self.recipe, self.round, **({"seen": self.round - 1 or -1} | fields))

    def ask(self, **fields: int) -> str:
        """Ask it; the message's id."""
        return self.link.ask(self.node, self.question(**fields), group=str(self.round))

    def answer(self, **fields: int) -> bytes:
        """Ask it, and what is answered."""
        return bytes_of(self.link.reply(self.ask(**fields)))

    def paid(self) -> list[int]:
        """How many steps the ledger paid for in this round, entry by entry."""
        return [steps for number, steps in entries(self.home) if number == self.round]


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A disk of 80 MB, or None for want of the right to mount one."""
    place = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", place], capture_output=True)
    yield None if mounted.returncode else place
    if not mounted.returncode:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def one_life(tmp_path_factory: pytest.TempPathFactory, small_disk: Path | None) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    made, recipe = device_of(folder / "made", federation__rounds=20)
    home = (small_disk or folder) / "home"
    shutil.copytree(made, home)
    with superlink(folder / "server") as link:
        link.submit()
        enrolled(home, link)
        for path in (home, home / "policy.toml"):
            path.chmod(0o777)  # As a home of before files were private.
        life = Life(folder, home, link, recipe)
        life.start()
        try:
            yield life
        finally:
            life.stop()


@pytest.fixture
def life(one_life: Life) -> Life:
    one_life.next_round()
    return one_life


def entries(home: Path) -> list[tuple[int, int]]:
    """What the ledger paid for: ``(round, steps)``."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{home / 'ledger.sqlite'}?mode=ro", uri=True)
        ) as database:
            return list(database.execute("SELECT round, steps FROM spends ORDER BY id"))
    except sqlite3.OperationalError:
        return []  # It is being made.


def test_rounds_are_answered_and_what_is_asked_again_is_sent_again(life: Life) -> None:
    home, size = life.home, 4 * tiny_model(life.recipe).partition.size
    first = life.answer()
    assert life.answer(attempt=1) == first
    assert len(first) == size
    assert life.paid() == [1]
    life.next_round()
    life.answer()
    assert entries(home) == [(1, 1), (2, 1)]
    shown = until(
        lambda: (s := status(home)).get("last_round") == 2 and s["sent"] > 2 * size and s, what="status"
    )
    assert shown["update_numbers"] == tiny_model(life.recipe).partition.size
    assert shown["epsilon"] > 0
    assert shown["epsilon_left"] < 50
    assert open_to_others(home) == []
    assert open_to_others(life.state / "fedvoice") == []


@pytest.mark.parametrize("child", ["worker", "supernode"])
def test_a_child_that_is_killed_while_training_answers_after_all(life: Life, child: str) -> None:
    before = status(life.home)["restarts"]
    asked = life.ask()
    until(life.paid, what="training")
    os.kill(pid_of(life.home, child), signal.SIGKILL)
    bytes_of(life.link.reply(asked))
    assert life.paid() == [1]
    assert status(life.home)["restarts"] > before


def test_a_device_that_is_killed_whole_before_it_trains_answers_when_it_is_back(life: Life) -> None:
    life.link.swallow.add("pull-object")
    asked = life.ask()
    until(lambda: (life.home / "live" / "inbox.json").exists(), what="a message in hand")
    life.kill()
    assert life.paid() == []
    life.link.swallow.clear()
    life.start()
    bytes_of(life.link.reply(asked))


@pytest.mark.parametrize("lost", ["push-messages", "push-object"])
def test_a_device_that_is_killed_in_the_middle_of_sending_sends_the_same(life: Life, lost: str) -> None:
    life.link.swallow.add(lost)
    asked, digest = life.ask(), digest_of(life.question())
    kept = until(
        lambda: Outbox(life.home / "outbox").find("run", life.round, digest), what="a reply in the outbox"
    )
    until(lambda: lost in life.link.calls, what="an attempt to send")
    life.kill()
    life.link.swallow.clear()
    life.start()
    assert bytes_of(life.link.reply(asked)) == kept.arrays["shared"][2]
    assert life.paid() == [1]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "alive"])
def test_who_may_have_lost_a_message_on_its_way_comes_online_anew(life: Life, killed: bool) -> None:
    """The server hands a message out once; a device that comes online anew is asked again."""
    link, node = life.link, life.node
    before = link.activated_at(node)
    link.lose.add("pull-messages")
    lost = life.ask()
    until(lambda: link.lost_bytes, what="a message that gets lost")
    if killed:
        life.kill()
    link.lose.clear()
    if killed:
        life.start()
    until(lambda: link.activated_at(node) > before, what="the device comes online anew")
    life.answer()
    assert link.take(lost) is None


def test_a_run_that_ends_while_its_message_is_fetched_does_not_hold_up_the_next(life: Life) -> None:
    link = life.link
    link.over.add("pull-object")
    life.ask()
    until(lambda: "pull-object" in link.calls, what="an attempt to fetch it")
    until(lambda: link.calls[-1] == "pull-messages", what="the next request for a message")
    link.over.clear()
    bytes_of(link.reply(life.ask(attempt=1), seconds=60))


def test_a_device_that_is_killed_after_sending_goes_on_with_the_next_round(life: Life) -> None:
    before = life.link.activated_at(life.node)
    life.answer()
    # The answer is noted as given once the next message is asked for.
    until(lambda: not (life.home / "live" / "inbox.json").exists(), what="an empty inbox")
    paid = entries(life.home)
    life.kill()
    life.start()
    until(lambda: life.link.activated_at(life.node) > before, what="the device comes online anew")
    life.next_round()
    life.answer()
    assert entries(life.home) == [*paid, (life.round, 1)]


def test_a_server_that_goes_away_and_comes_back_is_found_again(life: Life) -> None:
    with life.link.away():
        asked = life.ask()
    reply = life.link.reply(asked)
    if reply.has_error():
        # A device whose request was cut off comes online anew, and is asked again.
        assert reply.error.code in UNHEARD
        reply = life.link.reply(life.ask(attempt=1))
    bytes_of(reply)


def test_a_full_disk_loses_nothing_and_the_device_goes_on_when_there_is_space(
    life: Life, small_disk: Path | None
) -> None:
    if small_disk is None:
        pytest.skip("SKIPPED FOR LACK OF RIGHTS: a small disk can be mounted by root alone")
    first = life.answer()
    life.next_round()
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    said = life.link.reply(life.ask())
    assert said.has_error()
    assert "disk is full" in str(said.error.reason)
    # Even now: what was asked before needs no space.
    before = question(life.recipe, life.round - 1, attempt=1, seen=life.round - 2)
    assert bytes_of(life.link.reply(life.link.ask(life.node, before))) == first
    (small_disk / "ballast").unlink()
    life.answer(attempt=1)
    assert [number for number, steps in entries(life.home) if steps] == list(range(1, life.round + 1))


def test_a_device_that_the_server_no_longer_wants_says_so_and_comes_back_when_it_may(life: Life) -> None:
    home, link = life.home, life.link
    activated, restarts = link.activated_at(life.node), status(home)["restarts"]
    link.refuse = (403, "this device was revoked by the operator")
    shown = until(lambda: (s := status(home)).get("state") == "refused" and s, what="the refusal")
    assert "revoked by the operator" in shown["problem"]
    # It tries again, and says so all the while.
    until(
        lambda: (s := status(home))["restarts"] > restarts and s["state"] == "refused", what="another refusal"
    )
    assert "revoked by the operator" in status(home)["problem"]
    link.refuse = None
    until(lambda: link.activated_at(life.node) > activated, what="the device comes online anew")
    life.answer()


def test_a_device_that_is_stopped_signs_off_and_leaves_nothing_behind(life: Life) -> None:
    life.stop()
    assert life.process.returncode == 0
    assert not life.link.online()
    assert status(life.home)["state"] == "stopped"
    assert open_to_others(life.home) == []
