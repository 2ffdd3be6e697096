"""Who did not count, grouped by kind and words, whatever devices say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flwr.app import Error, Message
from round_players import Live, recipe_of

from server.gathering import OTHER_WORDS, Tally
from server.plan import RoundReport
from server.rosters import RegisteredRoster
from server.validation import Drop

POLICY = "policy maximum_clipping_norm: the recipe asks for clipping norm 20, this device allows at most 10"


def says(reason: str) -> Callable[..., list[Message]]:
    return lambda message, *_: [Message(Error(0, reason), reply_to=message)]


def test_an_operator_reads_who_was_left_out_and_why(tmp_path: Path) -> None:
    """Before: a place that nobody took was called offline, and a full disk or a rolled back device a failure."""
    behaviours = {
        0: says(f"[declined] {POLICY}"),
        1: says(f"[declined] {POLICY}"),
        2: says("[disk] StorageError: the device's disk is full or not writable: free some space there"),
        3: says("[diverged] DivergedError: the device's training diverged (see its own training.jsonl)"),
        4: says(
            "[device rolled back] StaleCopyError: the device's files are an older copy than what was counted"
        ),
    }
    live = Live.of(recipe_of(federation__rounds=1, federation__cohort=9), tmp_path, behaviours, clients=9)
    live.grid.online -= {6, 7, 8}
    roster = RegisteredRoster(
        lambda: {p: n for p, n in live.grid.registered().items() if p < 7}, live.grid, lambda: {7}
    )
    live = replace(live, plan=replace(live.plan, roster=roster))
    live.run()
    (report,) = live.reports
    assert report.kinds == {
        "declined": 2, "disk": 1, "diverged": 1, "rolled back": 1, "offline": 1, "withdrawn": 1, "never joined": 1,
    }  # fmt: skip
    assert report.grouped["declined"] == {POLICY: 2}
    assert report.grouped["never joined"] == {"never joined": 1}
    assert report.dropped_devices[8] == "never joined"
    assert report.clients == 1
    assert RoundReport.of_state(report.state()).grouped == report.grouped


def test_a_round_that_is_repeated_says_why_too(tmp_path: Path) -> None:
    tries: list[int] = []

    def at_first(message: Message, *rest: object) -> list[Message]:
        tries.append(1)
        if len(tries) > 1:
            from round_players import honest

            return honest(message, *rest)  # type: ignore[arg-type]
        return says(f"[declined] {POLICY}")(message)

    live = Live.of(recipe_of(federation__rounds=1, federation__cohort=1), tmp_path, {0: at_first}, clients=1)
    live.run()
    assert live.waits[0].grouped == {"declined": {POLICY: 1}}


def test_devices_cannot_fill_the_status_with_words_of_their_own() -> None:
    tally = Tally()
    for number in range(1000):
        tally.drop(number, Drop.FAILED, f"something new: {number}")
    (words,) = tally.grouped.values()
    assert len(words) == 13
    assert words[OTHER_WORDS] == 988
    assert sum(words.values()) == 1000
