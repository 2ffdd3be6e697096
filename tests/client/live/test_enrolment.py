"""Enrolling: only with the server that the code names, once a code, and with sentences for what goes wrong."""

from __future__ import annotations

import base64
import json
import stat
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from small_superlink import SmallSuperLink, superlink

from client.live.enrolment import clock_problem, enrol, leave
from client.live.holding import only_one
from client.live.home import Membership, this_computer
from client.live.inbox import MOST_REPLAYS, Inbox
from client.live.pace import Pace
from client.live.supernode import _in_words, died_online, mark_online
from server.live.certificates import fingerprint
from shared_models.errors import EnrolmentError, ServiceError
from shared_models.join_code import JoinCode


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallSuperLink]:
    with superlink(tmp_path_factory.mktemp("server")) as running:
        running.submit()
        yield running


def test_a_device_enrols_once_and_asking_again_changes_nothing(link: SmallSuperLink, tmp_path: Path) -> None:
    code = JoinCode.parse(link.invite())
    first = enrol(code, tmp_path, "alice's laptop")
    key = (tmp_path / "node.key").read_bytes()
    assert enrol(code, tmp_path, "alice's laptop") == first
    assert (tmp_path / "node.key").read_bytes() == key
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    assert Membership.load(tmp_path) == first
    with pytest.raises(EnrolmentError, match="used by another device"):
        enrol(code, tmp_path / "other", "mallory")


def test_a_home_that_joined_before_members_were_called_so_still_opens(tmp_path: Path) -> None:
    joined = Membership("host:1", 3, 7, "federation", "run", "alice")
    joined.save(tmp_path)
    saved = tmp_path / "federation.json"
    saved.write_text(saved.read_text().replace('"member"', '"partition"'))
    assert Membership.load(tmp_path) == joined


def test_a_server_with_another_authority_is_not_talked_to(link: SmallSuperLink, tmp_path: Path) -> None:
    code = JoinCode.new(link.address, b"\x01" * 32, 600)
    with pytest.raises(EnrolmentError, match="not the one that the join code names"):
        enrol(code, tmp_path, "alice")
    assert not (tmp_path / "node.key").exists()
    assert not (tmp_path / "ca.pem").exists()


def test_a_server_whose_certificate_the_authority_did_not_sign_gets_nothing(
    link: SmallSuperLink, tmp_path: Path
) -> None:
    # The true authority's certificate, passed on by a server that has another's key.
    with superlink(tmp_path / "man in the middle") as other:
        true_ca = (link.folder / "ca.pem").read_text()
        (other.folder / "ca.pem").write_text(true_ca)
        code = JoinCode.new(other.address, fingerprint(true_ca.encode()), 600)
        with pytest.raises(EnrolmentError, match="nothing was sent"):
            enrol(code, tmp_path / "home", "alice")
        assert other.secrets == {}


def test_a_server_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="cannot be reached"):
        enrol(JoinCode.new("127.0.0.1:9", b"\x01" * 32, 600), tmp_path, "alice", seconds=5)


def test_leaving_is_signed_and_needs_to_have_joined(link: SmallSuperLink, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentError, match="has not joined"):
        leave(tmp_path)
    enrol(JoinCode.parse(link.invite()), tmp_path, "alice")
    leave(tmp_path)
    assert len(link.left) == 1


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0, None),
        (4, None),
        (-250, None),
        (60, "60 seconds ahead of"),
        (-7200, "2 hours behind"),
        (400000, "5 days ahead"),
    ],
)
def test_a_clock_that_is_off_is_said_in_one_sentence(ahead: float, words: str | None) -> None:
    said = clock_problem(formatdate(1_795_000_000, usegmt=True), now=1_795_000_000 + ahead)
    assert said is None if words is None else words in str(said)
    assert clock_problem("") is None


def test_refusals_are_put_in_words() -> None:
    slow = formatdate(time.time() + 3600, usegmt=True)
    assert "clock is 60 minutes behind" in _in_words(401, "", slow)
    assert "not accept this device's key" in _in_words(401, "", formatdate(usegmt=True))
    assert "was removed by the operator" in _in_words(
        403, json.dumps({"error": "was removed by the operator"}), ""
    )
    assert "(502)" in _in_words(502, "", "")


def test_one_home_is_used_by_one_process(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(ServiceError, match="already runs"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_copied_home_does_not_pass_for_the_one_that_died(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    assert died_online(home) is None
    mark_online(home, 7)
    assert died_online(home) == 7
    (copy / "live").mkdir(parents=True)
    (copy / "live" / "online.json").write_bytes((home / "live" / "online.json").read_bytes())
    assert died_online(copy) is None
    assert this_computer(home) != this_computer(copy)


def test_a_message_that_kills_the_device_is_given_up(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox.json")
    assert inbox.load() is None
    inbox.save(b"message")
    assert [inbox.load() for _ in range(MOST_REPLAYS + 1)] == [b"message"] * MOST_REPLAYS + [None]
    inbox.save(b"next")
    assert inbox.load() == b"next"
    inbox.clear()
    assert inbox.load() is None
    (tmp_path / "inbox.json").write_text('{"message": "' + base64.b64encode(b"x").decode())
    assert inbox.load() is None


def test_asking_is_frequent_while_something_happens_and_seldom_when_not() -> None:
    now = [0.0]
    pace = Pace(0.2, 3.0, lively_seconds=10.0, clock=lambda: now[0])
    for _ in range(120):
        now[0] += pace.next_pause()
    assert pace.next_pause() == 3.0
    pace.happened()
    assert pace.next_pause() == 0.2


def test_statuses_written_by_several_threads_stay_whole(tmp_path: Path) -> None:
    from client.live.status import Noticeboard, read

    board = Noticeboard(tmp_path, "supernode")
    threads = [
        threading.Thread(target=lambda n=n: [board.note(**{f"f{n}": i}) for i in range(20)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"f{n}": 19 for n in range(4)}.items() <= read(tmp_path, "supernode").items()
