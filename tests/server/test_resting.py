"""Devices that refuse are asked ever less often: what goes out in a simulated hour, and who rests at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Error, Message
from round_players import CLIENTS, Live, private_recipe, recipe_of

from server import gathering, rounds
from server.resting import Rests
from server.validation import Drop


class Clock:
    """Time that passes only where somebody sleeps, and ends with :class:`OverError`."""

    def __init__(self, ends: float) -> None:
        self.now, self._ends = 0.0, ends

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-3)
        if self.now > self._ends:
            raise OverError


class OverError(Exception):
    """The simulated time is over."""


def says(reason: str) -> Callable[..., list[Message]]:
    return lambda message, *_: [Message(Error(0, reason), reply_to=message)]


DECLINES = "[declined] policy modes: the recipe asks for privacy mode 'none', this device allows central"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(ends=3600.0)
    monkeypatch.setattr(rounds, "time", SimpleNamespace(sleep=made.sleep, monotonic=made))
    monkeypatch.setattr(gathering, "Rests", partial(Rests, clock=made))
    return made


def asked_at(live: Live, clock: Clock) -> list[float]:
    """When the one client was sent the weights, within the simulated hour."""
    moments: list[float] = []
    push = live.grid.push_messages

    def noting(messages: list[Message]) -> list[str]:
        sent = list(messages)
        moments.extend(clock.now for _ in sent)
        return push(sent)

    live.grid.push_messages = noting  # type: ignore[assignment,method-assign]
    with pytest.raises(OverError):
        live.run()
    return moments


@pytest.mark.parametrize(
    "reason", [DECLINES, "[disk] StorageError: the device's disk is full", "AudioError: no"]
)
def test_a_device_that_always_refuses_costs_little_traffic(tmp_path: Path, clock: Clock, reason: str) -> None:
    """Before: seven times the weights in the first minute, and one each minute after it."""
    recipe = recipe_of(federation__rounds=1, federation__cohort=1, federation__patience=1000)
    live = Live.of(recipe, tmp_path, {0: says(reason)}, clients=1, retry_seconds=1.0, rest_seconds=30.0)
    moments = asked_at(live, clock)
    assert sum(moment < 60 for moment in moments) <= 2
    # 30 s, 60 s, ... 900 s: the ceiling.
    assert 6 <= len(moments) <= 9
    gaps = [after - before for before, after in pairwise(moments)]
    assert gaps == sorted(gaps)
    assert max(gaps) < 900 + 60 + 1
    assert min(gaps) >= 30


@pytest.mark.usefixtures("clock")
def test_a_private_federation_does_not_spend_its_rounds_on_devices_that_decline(tmp_path: Path) -> None:
    """Before: every round was asked, released as noise and paid for, as fast as the devices could decline."""
    recipe = private_recipe(federation__rounds=500, federation__quorum=3, federation__cohort=4)
    behaviours = dict.fromkeys(range(CLIENTS), says(DECLINES))
    live = Live.of(recipe, tmp_path, behaviours, retry_seconds=1.0, rest_seconds=30.0)
    with pytest.raises(OverError):
        live.run()
    assert len(live.reports) < 60
    assert any("said no to the last question" in wait.reason for wait in live.waits)


def test_pauses_double_to_a_ceiling_and_end_with_an_update_or_an_absence() -> None:
    clock = Clock(ends=float("inf"))
    rests = Rests(30.0, 900.0, clock)
    pauses = []
    for _ in range(8):
        rests.refused(3, Drop.DECLINED, DECLINES)
        began = clock.now
        while rests.why(3):
            clock.sleep(1.0)
        pauses.append(clock.now - began)
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]
    rests.refused(3, Drop.FAILED, "no")
    rests.over(3)
    assert rests.why(3) is None
    rests.refused(3, Drop.FAILED, "no")
    assert "asked again in 30 s" in str(rests.why(3))
    rests.forget_all_but({3})
    assert rests.why(3)
    rests.forget_all_but({4})
    assert rests.why(3) is None


@pytest.mark.parametrize(
    ("kind", "said", "rests"),
    [
        (Drop.DECLINED, DECLINES, True),
        (Drop.NOT_FINITE, "NaN", True),
        (Drop.NO_REPLY, "no reply", False),
        (Drop.TOO_LATE, "too late", False),
        (Drop.NOT_NEEDED, "not needed", False),
        (Drop.REPLAYED, "another round", False),
        # Mended by the next question, which brings what is lacking.
        (Drop.LACKS_ANCHOR, "it has not got the first weights", False),
    ],
)
def test_who_rests(kind: Drop, said: str, rests: bool) -> None:
    resting = Rests()
    resting.refused(0, kind, said)
    assert (resting.why(0) is not None) == rests
    assert resting.unwilling(0) == (kind is Drop.DECLINED)


def test_a_device_that_rests_is_drawn_and_named_and_not_asked(tmp_path: Path) -> None:
    live = Live.of(recipe_of(federation__rounds=3), tmp_path, {1: says(DECLINES)}, rest_seconds=1000.0)
    live.run()
    assert [client for client, header in live.grid.asked if client == 1] == [1]
    assert [report.kinds for report in live.reports] == [{"declined": 1}, {"resting": 1}, {"resting": 1}]
    assert "this device allows central" in live.reports[2].dropped_devices[1]
    assert [report.clients for report in live.reports] == [CLIENTS - 1] * 3
