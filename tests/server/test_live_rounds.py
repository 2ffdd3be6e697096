"""Rounds among devices that come and go: quorum, deadline, dropouts, over-sampling, and what they cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_accounting.pld import privacy_loss_distribution as pld
from flwr.app import Error, Message
from round_players import (
    CLIENTS,
    Live,
    expected,
    honest,
    private_recipe,
    recipe_of,
    reply,
    run,
    silent,
    update_of,
)
from torch import Tensor

from server.accounting import Accountant
from server.rounds import RoundReport, federate
from shared_models.errors import RecipeError


def failing(message: Message, *_: object) -> list[Message]:
    return [Message(Error(0, "AudioError: no"), reply_to=message)]


def test_a_live_run_ends_with_the_simulations_weights(tmp_path: Path) -> None:
    recipe = recipe_of(federation__rounds=3, federation__cohort=4)
    live = Live.of(recipe, tmp_path / "live")
    simulated, _ = run(replace(live.plan, folder=tmp_path / "simulated", roster=None))
    assert torch.equal(live.run(), simulated)
    assert [r.round for r in live.reports] == [1, 2, 3]


def test_offline_devices_are_dropped_by_name_and_the_others_weigh_as_many_as_they_are(tmp_path: Path) -> None:
    live = Live.of(recipe_of(federation__rounds=1), tmp_path, {4: failing})
    live.grid.online -= {0, 5}
    weights = live.run()
    (report,) = live.reports
    assert report.dropped_devices == {0: "offline", 4: "AudioError: no", 5: "offline"}
    assert report.kinds == {"offline": 2, "failed": 1}
    assert (report.clients, report.sampled) == (3, CLIENTS)
    assert torch.allclose(weights, expected(live.plan, 1, [1, 2, 3]), atol=1e-7)


def test_a_late_joiner_takes_part_from_the_next_round_on(tmp_path: Path) -> None:
    live = Live.of(recipe_of(federation__rounds=2), tmp_path)
    live.grid.online.remove(2)
    federate_round_by_round(live, {1: lambda: live.grid.online.add(2)})
    assert [r.dropped_devices for r in live.reports] == [{2: "offline"}, {}]


def federate_round_by_round(live: Live, after: dict[int, Callable[[], None]]) -> Tensor:
    def note(report: RoundReport, _: Tensor) -> None:
        live.reports.append(report)
        after.get(report.round, lambda: None)()

    return federate(live.grid, live.plan, note, live.on_wait)


def test_a_round_waits_for_its_quorum_and_spends_nothing_meanwhile(tmp_path: Path) -> None:
    recipe = private_recipe(federation__rounds=1, federation__quorum=3)
    live = Live.of(recipe, tmp_path)
    live.grid.online = {0, 1}
    thread = threading.Thread(target=live.run)
    thread.start()
    deadline = time.monotonic() + 30
    while len(live.waits) < 2 and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert live.waits, "the round did not wait"
    waiting = live.waits[-1]
    assert (waiting.round, waiting.online, waiting.quorum) == (1, 2, 3)
    assert "2 of the 3 devices" in waiting.reason
    assert not list(tmp_path.iterdir()), "nobody was drawn, nothing was written"
    assert not live.grid.asked
    live.grid.online = {0, 1, 4}
    thread.join(30)
    assert not thread.is_alive()
    assert [r.round for r in live.reports] == [1]


def test_a_quorum_larger_than_the_population_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the first round would never start"):
        Live.of(recipe_of(federation__quorum=CLIENTS + 1), tmp_path).run()


def test_who_comes_after_the_deadline_is_not_counted_and_named(tmp_path: Path) -> None:
    recipe = recipe_of(federation__rounds=3, federation__deadline_seconds=0.4)
    live = Live.of(recipe, tmp_path, reply_seconds=60.0)
    live.grid.delays = {3: 0.6}
    federate_round_by_round(live, {1: lambda: (live.grid.delays.clear(), time.sleep(0.5))})  # type: ignore[func-returns-value]
    first, second, third = live.reports
    assert first.dropped_devices == {3: "no reply"}
    assert first.seconds < 30
    assert second.late == {3: 1}
    assert second.kinds == {"too late": 1}
    assert second.clients == CLIENTS, "its reply to this round counts all the same"
    assert (third.late, third.dropped) == ({}, {})
    weights = live.plan.initial.double()
    for number, clients in ((1, [0, 1, 2, 4, 5]), (2, range(CLIENTS)), (3, range(CLIENTS))):
        updates = [update_of(c, number, live.plan.partition.size).double() for c in clients]
        weights = weights + torch.stack(updates).mean(0)
    assert torch.allclose(federate(live.grid, live.plan), weights.float(), atol=1e-6)


def test_over_sampling_takes_the_first_cohort_to_answer(tmp_path: Path) -> None:
    recipe = recipe_of(federation__rounds=1, federation__cohort=3, federation__over_sampling=2.0)
    live = Live.of(recipe, tmp_path, {1: failing}, reply_seconds=60.0)
    live.grid.delays = {0: 300.0, 4: 300.0}
    weights = live.run()
    (report,) = live.reports
    assert (report.clients, report.sampled) == (3, 6)
    assert report.seconds < 30
    assert report.kinds == {"failed": 1, "not needed": 2}
    assert torch.allclose(weights, expected(live.plan, 1, [2, 3, 5]), atol=1e-7)


@pytest.mark.parametrize("nobody", ["all offline but one", "all fail", "all silent"])
def test_a_private_round_in_which_nobody_delivers_is_released_and_counted(
    tmp_path: Path, nobody: str
) -> None:
    behaviour = {"all fail": failing, "all silent": silent}.get(nobody, honest)
    recipe = private_recipe(federation__rounds=4, federation__cohort=2, federation__quorum=0)
    live = Live.of(recipe, tmp_path, dict.fromkeys(range(CLIENTS), behaviour))
    if nobody == "all offline but one":
        live.grid.online = {5}
    before, moved = live.plan.initial, []
    live.run()
    for _, weights in live.seen:
        moved.append(float((weights - before).std()))
        before = weights
    assert [r.attempt for r in live.reports] == [1] * 4
    # Noise multiplier 1 times C = 0.5, over the expected cohort of 2.
    assert moved == pytest.approx([0.25] * 4, rel=0.1)
    one = pld.from_gaussian_mechanism(1.0, sampling_prob=2 / 6, value_discretization_interval=1e-4)
    for report in live.reports:
        assert report.epsilon == pytest.approx(
            one.self_compose(report.round).get_epsilon_for_delta(1e-5), rel=0.01
        )


def test_a_device_alone_online_is_drawn_no_more_often_than_the_accountant_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accountant, "epsilon", lambda *_: 0.0)  # composed anew each round, which takes long
    # The round is not repeated until it answers, which would draw it every time.
    recipe = private_recipe(
        federation__rounds=200, federation__cohort=1, federation__quorum=0, privacy__noise_multiplier=20.0
    )
    live = Live.of(recipe, tmp_path)
    live.grid.online = {5}
    live.run()
    taken = sum(r.clients for r in live.reports)
    # 200 coins of 1/6: 33 expected, standard deviation 5.3.
    assert 33 - 5 * 5.3 < taken < 33 + 5 * 5.3


def test_without_privacy_such_a_round_is_repeated_with_another_cohort(tmp_path: Path) -> None:
    recipe = recipe_of(federation__rounds=2, federation__cohort=1, federation__patience=1000)
    live = Live.of(recipe, tmp_path, dict.fromkeys(range(CLIENTS - 1), failing))
    live.run()
    assert [r.round for r in live.reports] == [1, 2]
    assert [r.clients for r in live.reports] == [1, 1]
    assert max(r.attempt for r in live.reports) > 1
    assert any("none of 1 clients sent a usable update" in w.reason for w in live.waits)


def test_a_robust_round_with_too_few_updates_is_repeated(tmp_path: Path) -> None:
    calls: list[int] = []

    def fails_at_first(message: Message, update: Tensor, _: int) -> list[Message]:
        calls.append(1)
        return failing(message) if len(calls) <= 4 else [reply(message, update)]

    recipe = recipe_of(
        federation__rounds=1,
        federation__aggregation="multi_krum",
        federation__hostile=1,
        federation__cohort=6,
    )
    live = Live.of(recipe, tmp_path, dict.fromkeys(range(4), fails_at_first))
    live.run()
    (report,) = live.reports
    assert (report.attempt, report.clients) == (2, 6)
    assert "2 of 6 clients sent a usable update, and multi_krum needs 5" in live.waits[0].reason


def test_headers_say_the_attempt_and_when_a_device_last_counted(tmp_path: Path) -> None:
    live = Live.of(recipe_of(federation__rounds=3), tmp_path, {1: failing})
    live.grid.online.remove(0)
    federate_round_by_round(live, {1: lambda: live.grid.online.add(0)})
    seen = {(client, header["round"]): header["seen"] for client, header in live.grid.asked}
    assert [seen[0, 2], seen[0, 3]] == [-1, 2]
    assert [seen[1, n] for n in (1, 2, 3)] == [-1, -1, -1]
    assert [seen[2, n] for n in (1, 2, 3)] == [-1, 1, 2]
    assert {header["attempt"] for _, header in live.grid.asked} == {1}
    assert {header["population"] for _, header in live.grid.asked} == {CLIENTS}


def test_partial_private_cohorts_are_divided_by_the_expected_one(tmp_path: Path) -> None:
    def large(message: Message, update: Tensor, _: int) -> list[Message]:
        return [reply(message, update * 1.25)]  # norm C

    recipe = private_recipe(
        federation__rounds=1,
        federation__sampling="fixed",
        privacy__noise_multiplier=0.1,
        federation__cohort=4,
    )
    live = Live.of(recipe, tmp_path, dict.fromkeys(range(CLIENTS), large))
    live.grid.online -= {0, 1}
    moved = live.run() - live.plan.initial
    (report,) = live.reports
    told = [c for c, _ in live.grid.asked]
    size = live.plan.partition.size
    assert report.clients == len(told) <= 4
    total = torch.stack([update_of(c, 1, size) * 1.25 for c in told]).sum(0) if told else torch.zeros(size)
    assert float((moved - total / 4).std()) == pytest.approx(0.1 * 0.5 / 4, rel=0.1)


def test_devices_beyond_the_population_wait_for_the_next_run(tmp_path: Path) -> None:
    live = Live.of(recipe_of(federation__rounds=1), tmp_path)
    live.grid.clients = CLIENTS + 2
    live.grid.online |= {CLIENTS, CLIENTS + 1}
    live.run()
    assert {client for client, _ in live.grid.asked} == set(range(CLIENTS))


@pytest.mark.parametrize("private", [True, False])
def test_what_is_public_names_nobody(tmp_path: Path, private: bool) -> None:
    make: Callable[..., Any] = private_recipe if private else recipe_of
    live = Live.of(make(federation__rounds=1, federation__cohort=5), tmp_path, {1: failing})
    live.grid.online.remove(0)
    live.run()
    public = live.reports[0].public()
    if private:
        assert set(public) == {"round", "rounds", "protection", "epsilon", "update_norm", "signal"}
        assert public["protection"] == "central"
    else:
        assert set(public) == {
            "round", "rounds", "protection", "epsilon", "update_norm", "clients", "dropped",
        }  # fmt: skip
        assert (public["protection"], public["epsilon"]) == ("unprotected", None)
    assert "devices" not in repr(live.reports[0])
