"""The server's rounds on a grid of functions: who counts, what is released, and that a resume repeats."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_accounting.pld import privacy_loss_distribution as pld
from fake_grid import FakeGrid
from flwr.app import ConfigRecord, Error, Message, RecordDict
from independence import FALSE_ALARM, most_correlated
from round_players import (
    CLIENTS,
    Behaviour,
    expected,
    grid_of,
    plan_of,
    private_recipe,
    recipe_of,
    reply,
    run,
    silent,
)
from scipy import stats
from torch import Tensor

from server import rounds
from server.accounting import Accountant, accountant_for
from server.mechanisms import CentralGaussian, audit_noise
from server.rounds import FederationPlan, RoundReport, central_mechanism, federate
from shared_models.errors import CheckpointError, FedVoiceError, PrivacyError, RecipeError


def not_a_number(message: Message, update: Tensor, _: int) -> list[Message]:
    update[3] = math.nan
    return [reply(message, update)]


def infinite(message: Message, update: Tensor, _: int) -> list[Message]:
    update[-1] = -math.inf
    return [reply(message, update)]


def short(message: Message, update: Tensor, _: int) -> list[Message]:
    return [reply(message, update[:-1])]


def truncated(message: Message, update: Tensor, _: int) -> list[Message]:
    return [reply(message, update[:-1], size=update.numel())]


def long_ago(message: Message, update: Tensor, number: int) -> list[Message]:
    return [reply(message, update, round=number - 1)]


def of_another_model(message: Message, update: Tensor, _: int) -> list[Message]:
    return [reply(message, update, schema="another")]


def huge(message: Message, update: Tensor, _: int) -> list[Message]:
    return [reply(message, update * 1e6)]


def failing(message: Message, *_: object) -> list[Message]:
    return [Message(Error(0, "out of memory"), reply_to=message)]


def empty(message: Message, *_: object) -> list[Message]:
    return [Message(RecordDict(), reply_to=message)]


def of_the_wrong_kind(message: Message, *_: object) -> list[Message]:
    content = RecordDict({"header": reply(message, torch.zeros(1)).content["header"],
                          "shared": ConfigRecord({"shared": "text"})})  # fmt: skip
    return [Message(content, reply_to=message)]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (not_a_number, "NaN or infinite"),
        (infinite, "NaN or infinite"),
        (short, "size"),
        (truncated, "truncated"),
        (long_ago, "round 0 where this side has 1"),
        (of_another_model, "schema 'another'"),
        (huge, "moves a weight by"),
        (failing, "out of memory"),
        (empty, "without 'header'"),
        (of_the_wrong_kind, "without 'shared'"),
        (silent, "no reply"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_bad_update_is_dropped_by_name_and_the_others_count(
    tmp_path: Path, behaviour: Behaviour, reason: str
) -> None:
    plan = plan_of(recipe_of(federation__rounds=1), tmp_path)
    weights, (report,) = run(plan, {2: behaviour})
    assert report.clients == CLIENTS - 1
    (dropped,) = report.dropped.items()
    assert reason in dropped[0]
    assert dropped[1] == 1
    assert torch.allclose(weights, expected(plan, 1, [0, 1, 3, 4, 5]), atol=1e-7)


def test_an_update_that_comes_twice_counts_once(tmp_path: Path) -> None:
    def twice(message: Message, update: Tensor, _: int) -> list[Message]:
        return [reply(message, update), reply(message, update * 2)]

    plan = plan_of(recipe_of(federation__rounds=1), tmp_path)
    weights, (report,) = run(plan, {0: twice})
    assert (report.clients, report.dropped) == (CLIENTS, {"sent twice": 1})
    assert torch.allclose(weights, expected(plan, 1, list(range(CLIENTS))), atol=1e-7)


def test_a_norm_beyond_the_clipping_norm_is_dropped_where_privacy_depends_on_it(tmp_path: Path) -> None:
    def unclipped(message: Message, update: Tensor, _: int) -> list[Message]:
        return [reply(message, update * 2)]

    plan = plan_of(private_recipe(federation__rounds=1), tmp_path)
    _, (report,) = run(plan, {1: unclipped})
    assert report.clients == CLIENTS - 1
    (reason,) = report.dropped
    assert "an update has norm 0.8" in reason
    assert "the round's clipping norm is 0.5" in reason
    _, (report,) = run(plan_of(recipe_of(federation__rounds=1), tmp_path / "plain"), {1: unclipped})
    assert report.dropped == {}


def test_where_nobody_counts_the_run_ends_with_a_reason(tmp_path: Path) -> None:
    plan = plan_of(recipe_of(), tmp_path)
    with pytest.raises(
        FedVoiceError, match=r"round 1: none of 6 clients sent a usable update.*out of memory"
    ):
        run(plan, dict.fromkeys(range(CLIENTS), failing))


def test_clients_that_never_join_are_counted(tmp_path: Path) -> None:
    plan = replace(plan_of(recipe_of(), tmp_path, clients=CLIENTS), join_seconds=0.1)
    grid = grid_of(plan)
    grid.clients = 4
    with pytest.raises(FedVoiceError, match="only 4 of 6 clients joined"):
        federate(grid, plan)


def test_every_round_trains_from_the_weights_of_the_one_before(tmp_path: Path) -> None:
    plan = plan_of(recipe_of(federation__rounds=3), tmp_path)
    weights, reports = run(plan)
    assert torch.allclose(weights, expected(plan, 3, list(range(CLIENTS))), atol=1e-6)
    assert [(r.round, r.rounds, r.clients, r.dropped, r.epsilon) for r in reports] == [
        (number, 3, CLIENTS, {}, None) for number in (1, 2, 3)
    ]


def test_an_empty_cohort_still_releases_noise(tmp_path: Path) -> None:
    # The rounds in which coins choose nobody must look like any other: that nobody took part is a secret too.
    recipe = private_recipe(federation__cohort=1, federation__rounds=12)
    plan = plan_of(recipe, tmp_path)
    snapshots: list[tuple[int, Tensor]] = []
    federate(grid_of(plan), plan, lambda report, weights: snapshots.append((report.clients, weights.clone())))
    counts = [count for count, _ in snapshots]
    assert 0 in counts, "another seed is needed: every round had somebody"
    assert max(counts) > 0
    before = plan.initial
    for count, weights in snapshots:
        step = weights - before
        if count == 0:
            assert step.std() == pytest.approx(0.5, rel=0.05), (
                "noise multiplier 1 times C, over a cohort of 1"
            )
        before = weights


def test_an_empty_cohort_without_privacy_moves_nothing(tmp_path: Path) -> None:
    recipe = recipe_of(federation__cohort=1, federation__sampling="poisson", federation__rounds=12)
    plan = plan_of(recipe, tmp_path)
    before = plan.initial
    seen = set()
    for count, weights in snapshots_of(plan):
        seen.add(count > 0)
        assert torch.equal(weights, before) == (count == 0)
        before = weights
    assert seen == {True, False}


def snapshots_of(plan: FederationPlan) -> list[tuple[int, Tensor]]:
    snapshots: list[tuple[int, Tensor]] = []
    federate(grid_of(plan), plan, lambda report, weights: snapshots.append((report.clients, weights.clone())))
    return snapshots


@pytest.mark.parametrize("optimizer", ["fedavg", "fedavgm", "fedadam", "fedyogi"])
@pytest.mark.parametrize("privacy", [False, True], ids=["plain", "central"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, optimizer: str, privacy: bool) -> None:
    make = private_recipe if privacy else recipe_of
    recipe = make(federation__server_optimizer=optimizer, federation__rounds=5)
    whole, reports = run(plan_of(recipe, tmp_path / "whole"))
    plan, seen, calls = plan_of(recipe, tmp_path / "parts"), dict[int, RoundReport](), itertools.count(1)

    def watch(report: RoundReport, _: Tensor) -> None:
        if (call := next(calls)) in (2, 4, 7):
            raise KeyboardInterrupt  # before the report is written down
        seen[report.round] = report
        if call in (3, 8):
            raise KeyboardInterrupt

    resumed = None
    while resumed is None:
        with contextlib.suppress(KeyboardInterrupt):
            resumed = federate(grid_of(plan), plan, watch)
    assert torch.equal(resumed, whole)
    # No round is lost, whenever the kill came: its report is out before its checkpoint is.
    assert {number: replace(r, seconds=0, attempt=1) for number, r in seen.items()} == {
        r.round: replace(r, seconds=0) for r in reports
    }


def test_a_finished_run_asks_nobody_again(tmp_path: Path) -> None:
    plan = plan_of(recipe_of(federation__rounds=2), tmp_path)
    weights, _ = run(plan)
    assert torch.equal(federate(FakeGrid(0, lambda *_: []), plan), weights)


@pytest.mark.parametrize(
    "changes",
    [{"federation__server_lr": 0.5}, {"privacy__noise_multiplier": 0.5}, {"seed": 8}, {"model__filter": 16}],
    ids=str,
)
def test_another_recipes_checkpoints_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(plan_of(private_recipe(federation__rounds=2), tmp_path))
    with pytest.raises(CheckpointError, match=r"another recipe|another model"):
        run(plan_of(private_recipe(federation__rounds=2, **changes), tmp_path))


@pytest.mark.parametrize(
    ("noise_multiplier", "cohort", "population", "number"),
    [(0.8, 3, 6, 4), (1.5, 2, 1000, 6), (0.5, 6, 60, 2)],
    ids=str,
)
def test_epsilon_is_what_dp_accounting_composes(
    tmp_path: Path, noise_multiplier: float, cohort: int, population: int, number: int
) -> None:
    recipe = private_recipe(
        privacy__noise_multiplier=noise_multiplier, federation__cohort=cohort, federation__rounds=number,
    )  # fmt: skip
    _, reports = run(plan_of(recipe, tmp_path, clients=population))
    one = pld.from_gaussian_mechanism(
        standard_deviation=noise_multiplier,
        sampling_prob=cohort / population,
        value_discretization_interval=1e-4,
    )
    for report in reports:
        independent = one.self_compose(report.round).get_epsilon_for_delta(1e-5)
        assert report.epsilon == pytest.approx(independent, rel=0.01)


def test_noise_for_a_cohort_that_is_not_there_is_refused_live(tmp_path: Path) -> None:
    recipe = private_recipe(privacy__noise_cohort=50, privacy__population=100)
    with pytest.raises(PrivacyError, match="is for simulations"):
        run(plan_of(recipe, tmp_path, seeded=False))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_algorithm_without_updates_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'local' sends no updates"):
        run(plan_of(recipe_of(federation__algorithm="local"), tmp_path))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_noise_of_a_run_is_what_its_accountant_was_told(tmp_path: Path) -> None:
    recipe = private_recipe(federation__rounds=1, federation__cohort=3, privacy__noise_multiplier=2.0)
    plan = plan_of(recipe, tmp_path)
    nothing: Behaviour = lambda message, update, _: [reply(message, update * 0)]  # noqa: E731
    weights, _ = run(plan, dict.fromkeys(range(CLIENTS), nothing))
    noise = (weights - plan.initial).double()
    assert noise.std() == pytest.approx(2.0 * 0.5 / 3, rel=5 / math.sqrt(2 * noise.numel()))


@pytest.mark.parametrize("scaled", [None, 50], ids=["own cohort", "noise cohort"])
def test_halved_noise_is_caught(scaled: int | None) -> None:
    recipe = private_recipe(privacy__noise_cohort=scaled, privacy__population=100 if scaled else None)
    accountant = accountant_for(recipe, CLIENTS)
    assert accountant is not None
    told = accountant.noise_multiplier
    mechanism = central_mechanism(recipe, CLIENTS, accountant)
    assert audit_noise(mechanism, told) == pytest.approx(1, abs=0.02)
    with pytest.raises(PrivacyError, match="the epsilon that it reports does not hold"):
        audit_noise(replace(mechanism, noise_multiplier=told / 2), told)


def test_a_run_with_halved_noise_fails_its_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halved(*arguments: Any) -> Any:
        mechanism = central_mechanism(*arguments)
        return replace(mechanism, noise_multiplier=mechanism.noise_multiplier / 2)

    monkeypatch.setattr(rounds, "central_mechanism", halved)
    with pytest.raises(AssertionError):
        test_the_noise_of_a_run_is_what_its_accountant_was_told(tmp_path)


def test_a_simulations_noise_repeats_and_a_live_runs_does_not(tmp_path: Path) -> None:
    recipe = private_recipe(federation__rounds=1)
    seeded = [run(plan_of(recipe, tmp_path / f"s{i}"))[0] for i in range(2)]
    live = [run(plan_of(recipe, tmp_path / f"l{i}", seeded=False))[0] for i in range(2)]
    assert torch.equal(*seeded)
    noise = [weights - plan_of(recipe, tmp_path).initial for weights in [*live, seeded[0]]]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(torch.corrcoef(torch.stack([noise[one], noise[other]]))[0, 1]) < 0.2


def test_a_live_cohort_is_not_the_recipes_to_foretell(tmp_path: Path) -> None:
    recipe = private_recipe(federation__cohort=10, federation__rounds=1, privacy__population=20)
    chosen = []
    for name in ("a", "b", "c"):
        plan = plan_of(recipe, tmp_path / name, seeded=False, clients=20)
        asked: set[int] = set()
        grid = grid_of(plan)
        answer = grid.answer

        def note(
            client: int, message: Message, asked: set[int] = asked, answer: Any = answer
        ) -> list[Message]:
            if message.metadata.message_type == "train":
                asked.add(client)
            return list(answer(client, message))

        grid.answer = note
        federate(grid, plan)
        chosen.append(frozenset(asked))
    assert len(set(chosen)) > 1


@pytest.mark.parametrize("seeded", [True, False], ids=["simulation", "live"])
def test_no_rounds_noise_tells_of_anothers(tmp_path: Path, seeded: bool) -> None:
    """Else the difference of two rounds is free of noise."""
    nothing: Behaviour = lambda message, update, _: [reply(message, update * 0)]  # noqa: E731
    plan = plan_of(private_recipe(federation__rounds=6), tmp_path, seeded=seeded)
    weights = [plan.initial]
    grid = grid_of(plan, dict.fromkeys(range(CLIENTS), nothing))
    federate(grid, plan, lambda _, now: weights.append(now.clone()))
    steps = torch.stack(weights).double().diff(dim=0)
    assert len(steps) == 6
    assert most_correlated(steps) < 1


def test_people_are_drawn_at_the_rate_that_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Accountant, "epsilon", lambda *_: 0.0
    )  # what it costs is another test's, and takes long
    number, rate = 80, 2 / 6
    plan = plan_of(private_recipe(federation__rounds=number, federation__cohort=2), tmp_path)
    asked: list[int] = []
    grid = grid_of(plan)
    answer = grid.answer

    def note(client: int, message: Message) -> list[Message]:
        if message.metadata.message_type == "train":
            asked.append(client)
        return list(answer(client, message))

    grid.answer = note
    federate(grid, plan)
    counts = [asked.count(client) for client in range(CLIENTS)]
    assert stats.binomtest(sum(counts), number * CLIENTS, rate).pvalue > FALSE_ALARM, counts
    for count in counts:
        assert stats.binomtest(count, number, rate).pvalue > FALSE_ALARM, counts


def test_a_release_is_paid_for_before_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    step, release = Accountant.step, CentralGaussian.release
    monkeypatch.setattr(Accountant, "step", lambda *a: events.append("paid") or step(*a))
    monkeypatch.setattr(CentralGaussian, "release", lambda *a: events.append("released") or release(*a))
    run(plan_of(private_recipe(federation__rounds=3), tmp_path))
    assert events == ["paid", "released"] * 3
