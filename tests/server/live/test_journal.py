"""What an operator reads: nothing that is over, and figures whose names no device makes up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from server.live.journal import Journal, Standing, read_standing
from server.live.metrics import Traffic, figures, prometheus
from server.live.places import places
from server.live.registry import Registered
from server.validation import Drop

SAID = 'policy modes: the recipe asks for privacy mode "none", this device allows central'


def report(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "round": number, "clients": 2, "dropped": {SAID: 1}, "kinds": {"declined": 1},
        "grouped": {"declined": {SAID: 1}}, "epsilon": None, "seconds": 1.0, **changes,
    }  # fmt: skip


def device(number: int, state: Any = "active", ago: float = 0.0) -> Registered:
    now = time.time()
    return Registered(number, bytes([number]), number, f"d{number}", "0", now, state, now - ago)


def test_what_held_a_round_up_is_over_when_the_round_is_done(tmp_path: Path) -> None:
    """Before: "0 of 2 devices are online" stood there for the rest of the run where no message followed."""
    journal = Journal(tmp_path, 3)
    journal.note(state="waiting", problem="0 of the 2 devices that a round needs are online")
    journal.round_done(report(1))
    standing = read_standing(tmp_path)
    assert (standing.state, standing.problem, standing.round) == ("training", "", 1)
    assert standing.grouped == {"declined": {SAID: 1}}
    journal.round_done(report(2, dropped={}, kinds={}, grouped={}))
    assert read_standing(tmp_path).grouped == {}


def test_counts_are_by_kind_and_a_round_that_is_told_twice_counts_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 3)
    journal.round_done(report(1))
    again = Journal(tmp_path, 3)
    assert again.standing.dropped == {"declined": 1}
    assert again.standing.grouped == {"declined": {SAID: 1}}
    again.round_done(report(1))
    again.round_done(report(2, kinds={"disk": 1}))
    assert (again.standing.accepted, again.standing.dropped) == (4, {"declined": 1, "disk": 1})


def test_no_word_of_a_device_becomes_a_label() -> None:
    standing = Standing(
        round=1,
        dropped={"declined": 2, "evil\nfedvoice_round 99": 1},
        grouped={"declined": {SAID: 2}, "offline": {"offline": 3}},
    )
    data = figures(standing, [device(0), device(1, ago=500)], {}, Traffic(), {}, 5)
    text = prometheus(data)
    assert 'fedvoice_updates_dropped_total{reason="declined"} 2' in text
    assert 'fedvoice_left_out{reason="offline"} 3' in text
    assert 'fedvoice_places{state="never joined"} 3' in text
    assert 'fedvoice_updates_dropped_total{reason="failed"} 1' in text
    for word in ("evil", "policy modes", "allows central"):
        assert word not in text
    assert text.count("fedvoice_updates_dropped_total{") == len(Drop)


@pytest.mark.parametrize("heard_of", [False, True], ids=["not heard", "heard"])
def test_places_are_told_apart(heard_of: bool) -> None:
    heard = {b"\x02": time.time()} if heard_of else {}
    known = [device(0), device(1, "left"), device(2, ago=300), device(3, "revoked", ago=300)]
    offline = 0 if heard else 1
    assert places(10, known, heard) == {
        "online": 2 - offline, "offline": offline, "never joined": 6, "left": 1, "revoked": 1,
    }  # fmt: skip
