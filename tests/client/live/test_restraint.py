"""A device that keeps declining does not keep fetching: what it pulls while it is asked again and again."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from live_device import allow, bytes_of, device_of, enrolled, joined, question, status, until
from small_superlink import superlink

from client.live.restraint import FIRST_SECONDS, IN_FULL, MOST_SECONDS, Restraint

RUN = 7
DECLINED = "[declined] policy modes: the recipe asks for privacy mode 'none', this device allows central"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_in_a_simulated_day_few_questions_are_fetched_whole(tmp_path: Path) -> None:
    """A server that asks every 5 s, for a day: 17,280 questions, of which all were fetched before."""
    clock = Clock()
    restraint = Restraint(tmp_path / "policy.toml", clock)
    fetched: list[float] = []
    while clock.now < 86_400:
        if restraint.words(RUN) is None:
            fetched.append(clock.now)
            restraint.answered(RUN, DECLINED)
        clock.now += 5.0
    assert sum(at < 60 for at in fetched) <= IN_FULL + 1
    assert len(fetched) < 110
    gaps = [after - before for before, after in pairwise(fetched)]
    assert max(gaps) <= MOST_SECONDS + 5
    assert gaps[1] >= FIRST_SECONDS


def test_what_ends_restraint(tmp_path: Path) -> None:
    clock, policy = Clock(), tmp_path / "policy.toml"
    policy.write_text("")
    os.utime(policy, (1, 1))
    restraint = Restraint(policy, clock)
    for _ in range(IN_FULL):
        assert restraint.words(RUN) is None
        restraint.answered(RUN, DECLINED)
    assert restraint.words(RUN) == DECLINED
    os.utime(policy, (2, 2))
    assert restraint.words(RUN) is None
    for _ in range(IN_FULL):
        restraint.answered(RUN, DECLINED)
    assert restraint.words(RUN + 1) is None, "what was wrong with a run says nothing of the next"
    assert restraint.words(RUN) == DECLINED
    restraint.answered(RUN, None)
    assert restraint.words(RUN) is None
    for _ in range(2 * IN_FULL):
        restraint.answered(RUN, "[lacks anchor] send the first weights")
    assert restraint.words(RUN) is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_device_asked_ten_times_fetches_twice_and_takes_part_once_its_policy_allows_it(
    tmp_path: Path,
) -> None:
    made, recipe = device_of(tmp_path / "device")
    home = tmp_path / "home"
    shutil.copytree(made, home)
    with superlink(tmp_path / "server") as link:
        link.submit()
        enrolled(home, link)
        allow(home, maximum_clipping_norm=0.01)
        with joined(home):
            node = link.wait_online()
            for attempt in range(10):
                said = link.reply(link.ask(node, question(recipe, 1, attempt=attempt)))
                assert said.has_error()
                assert "policy maximum_clipping_norm" in str(said.error.reason)
            size = 4 * question(recipe).array_records["shared"]["shared"].shape[0]
            until(lambda: status(home).get("received", 0) > size, what="traffic in the status")
            assert status(home)["received"] < 3 * size, "ten times the weights before"
            assert "policy maximum_clipping_norm" in status(home)["refusal"]
            allow(home)
            # What is over goes away by itself.
            until(lambda: "refusal" not in status(home), what="a refusal that is over")
            assert bytes_of(link.reply(link.ask(node, question(recipe, 1, attempt=11))))
