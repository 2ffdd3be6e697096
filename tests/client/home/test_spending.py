"""What a round costs a person: in the ledger before it leaves, once, and never less than it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from client.home.ledger import Ledger
from client.home.ledger_anchor import LedgerAnchor
from client.home.policy import Policy
from client.home.spending import PLAN, Claim, claim_of, reserve_round, rounds_known, spent_without_sampling
from shared_models.accounting import SampledGaussian, epsilon_of, gaussian_epsilon
from shared_models.config import Recipe
from shared_models.errors import BudgetError, DeclinedError, PrivacyError, StaleCopyError

WIDE = Policy(total_epsilon=1000.0, epsilon_per_run=1000.0, total_epsilon_without_sampling=1000.0)


def recipe(**changes: Any) -> Recipe:
    plain = {
        "privacy.mode": "central",
        "privacy.noise_multiplier": 1.0,
        "federation.rounds": 10,
        "federation.cohort": 5,
    }
    return Recipe().override(plain | {name.replace("__", "."): value for name, value in changes.items()})


def ledger(folder: Path, policy: Policy = WIDE) -> Ledger:
    return Ledger(folder / "ledger.sqlite", policy.total_epsilon, policy.delta)


def spend(
    book: Ledger, claim: Claim, number: int, question: str = "w", policy: Policy = WIDE, run: str = "run"
) -> None:
    reserve_round(book, policy, claim, run=run, round_number=number, question=question)


def test_without_a_known_rate_each_round_costs_in_full(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    claim = claim_of(recipe(federation__sampling="poisson"), None)
    assert claim.sampling_probability == 1
    for number in (2, 5):
        spend(book, claim, number)
    assert book.spent("person") == epsilon_of([SampledGaussian(1.0, 1.0, 2)], 1e-5)
    assert rounds_known(book, "run") == 5
    assert rounds_known(book, "other") == -1


def test_with_a_known_rate_the_whole_run_is_paid_for_at_its_first_round(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    claim = claim_of(recipe(federation__sampling="poisson"), 100)
    assert claim.sampling_probability == 0.05
    whole = epsilon_of([SampledGaussian(1.0, 0.05, 10)], 1e-5)
    for number in (3, 4, 9):
        spend(book, claim, number)
        assert book.spent("person") == whole
    assert rounds_known(book, "run") == 9


def test_the_same_question_is_paid_once_and_another_of_the_same_round_again(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    claim = claim_of(recipe(federation__sampling="poisson"), 100)
    spend(book, claim, 3)
    before = book.spent("person")
    spend(book, claim, 3)
    assert book.spent("person") == before
    spend(book, claim, 3, question="others")
    assert book.spent("person") == epsilon_of(
        [SampledGaussian(1.0, 0.05, 10), SampledGaussian(1.0, 1.0, 1)], 1e-5
    )


def test_a_round_beyond_the_plan_is_paid_in_full(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    claim = claim_of(recipe(federation__sampling="poisson"), 100)
    spend(book, claim, 11)
    assert book.spent("person") >= epsilon_of(
        [SampledGaussian(1.0, 0.05, 10), SampledGaussian(1.0, 1.0, 1)], 1e-5
    )


def test_a_server_that_lowers_the_noise_midway_pays_for_a_new_plan(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    spend(book, claim_of(recipe(federation__sampling="poisson"), 100), 1)
    spend(book, claim_of(recipe(federation__sampling="poisson", privacy__noise_multiplier=0.5), 100), 2)
    assert book.spent("person") >= epsilon_of([SampledGaussian(0.5, 0.05, 10)], 1e-5)


def test_a_run_that_goes_on_longer_is_charged_the_difference(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    spend(book, claim_of(recipe(federation__sampling="poisson"), 100), 1)
    longer = claim_of(recipe(federation__sampling="poisson", federation__rounds=25), 100)
    for number in (2, 20):
        spend(book, longer, number)
    plans = [e.spend.steps for e in book.history() if e.spend.purpose == PLAN]
    assert plans == [10, 15]
    assert book.spent("person") == epsilon_of([SampledGaussian(1.0, 0.05, 25)], 1e-5)
    # Shorter again costs nothing more, and gives nothing back.
    spend(book, claim_of(recipe(federation__sampling="poisson"), 100), 5)
    assert book.spent("person") == epsilon_of([SampledGaussian(1.0, 0.05, 25)], 1e-5)


def test_a_target_over_other_rounds_never_leaves_a_round_with_less_noise_unpaid(tmp_path: Path) -> None:
    """Every round that may have been released at a noise level has an entry of no more noise: a matching exists."""
    book, released = ledger(tmp_path), []
    for number, rounds in ((1, 10), (2, 5), (3, 30), (4, 8)):
        asked = recipe(
            federation__sampling="poisson",
            federation__rounds=rounds,
            privacy__epsilon=4.0,
            privacy__noise_multiplier=None,
        )
        claim = claim_of(asked, 100)
        spend(book, claim, number)
        released = [*released[: number - 1], *[claim.noise_multiplier] * (rounds - number + 1)]
        paid = sorted(
            e.spend.noise_multiplier
            for e in book.history()
            if e.spend.purpose == PLAN
            for _ in range(e.spend.steps)
        )
        assert all(entry <= noise for entry, noise in zip(paid, sorted(released), strict=False))
        assert len(paid) >= len(released)


def test_the_figure_without_sampling_takes_each_answer_in_full(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    claim = claim_of(recipe(federation__sampling="poisson"), 100)
    for number in (1, 4, 9):
        spend(book, claim, number)
    assert spent_without_sampling(book) == gaussian_epsilon(3**-0.5, 1e-5)
    assert book.spent("person") < 2 < spent_without_sampling(book)
    spend(book, claim_of(recipe(), None), 1, run="fixed")
    assert spent_without_sampling(book) == gaussian_epsilon(0.5, 1e-5)


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0, 4.0, 50.0])
def test_the_closed_form_is_the_bound_by_loss_distributions(noise: float) -> None:
    bound = epsilon_of([SampledGaussian(noise, 1.0)], 1e-5)
    assert bound * (1 - 1e-4) < gaussian_epsilon(noise, 1e-5) <= bound
    assert gaussian_epsilon(noise, 1e-9) > gaussian_epsilon(noise, 1e-5)


def test_so_much_noise_that_delta_covers_all_costs_nothing() -> None:
    assert gaussian_epsilon(1e6, 1e-3) == 0.0
    for wrong in (0.0, 1.0):
        with pytest.raises(PrivacyError, match="delta"):
            gaussian_epsilon(1.0, wrong)


def test_digests_that_agree_in_part_are_two_questions(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    claim = claim_of(recipe(), None)
    spend(book, claim, 1, question="ab" * 31 + "00")
    spend(book, claim, 1, question="ab" * 31 + "01")
    assert book.spent("person") == epsilon_of([SampledGaussian(1.0, 1.0, 2)], 1e-5)


@pytest.mark.parametrize("population", [None, 100])
def test_a_run_that_will_cost_too_much_is_declined_before_its_first_round(
    tmp_path: Path, population: int | None
) -> None:
    policy = Policy(total_epsilon=100.0, epsilon_per_run=0.5)
    book = ledger(tmp_path, policy)
    claim = claim_of(recipe(federation__sampling="poisson"), population)
    with pytest.raises(DeclinedError, match=r"epsilon_per_run.*0\.5"):
        spend(book, claim, 1, policy=policy)
    assert book.history() == []


def test_the_total_holds_over_runs(tmp_path: Path) -> None:
    policy = Policy(total_epsilon=3.0, epsilon_per_run=2.9)
    book = ledger(tmp_path, policy)
    claim = claim_of(recipe(federation__sampling="poisson", privacy__noise_multiplier=0.8), 100)
    assert 1.6 < epsilon_of([claim.whole_run], 1e-5) < 2.9
    for run in ("one", "two", "three", "four"):
        try:
            spend(book, claim, 1, policy=policy, run=run)
        except BudgetError:
            break
    else:
        raise AssertionError("four runs of epsilon 1.6 fitted into 3")
    assert book.spent("person") <= 3.0
    assert run in ("two", "three", "four")


def test_a_target_epsilon_is_resolved_or_declined() -> None:
    asked = recipe(privacy__noise_multiplier=None, privacy__epsilon=4.0)
    noise = claim_of(asked.override({"federation.sampling": "poisson"}), 100).noise_multiplier
    assert epsilon_of([SampledGaussian(noise, 0.05, 10)], 1e-5) <= 4.0
    assert claim_of(asked, None).sampling_probability == 1
    with pytest.raises(DeclinedError, match="population"):
        claim_of(asked.override({"federation.sampling": "poisson"}), None)


@pytest.fixture
def anchor(tmp_path: Path) -> LedgerAnchor:
    return LedgerAnchor("device", tmp_path / "state")


def test_an_older_copy_of_the_ledger_is_refused(tmp_path: Path, anchor: LedgerAnchor) -> None:
    book = ledger(tmp_path / "home")
    claim = claim_of(recipe(), None)
    spend(book, claim, 1)
    anchor.move(book)
    shutil.copytree(tmp_path / "home", tmp_path / "backup")
    spend(book, claim, 2)
    anchor.check(book)
    anchor.move(book)
    shutil.rmtree(tmp_path / "home")
    shutil.copytree(tmp_path / "backup", tmp_path / "home")
    with pytest.raises(StaleCopyError, match="holds 1 entries where this computer remembers 2"):
        anchor.check(ledger(tmp_path / "home"))
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(StaleCopyError):
        anchor.check(ledger(tmp_path / "home"))


def test_another_devices_ledger_is_refused(tmp_path: Path, anchor: LedgerAnchor) -> None:
    mine, other = ledger(tmp_path / "mine"), ledger(tmp_path / "other")
    spend(mine, claim_of(recipe(), None), 1)
    anchor.move(mine)
    for number in (1, 2):
        spend(other, claim_of(recipe(privacy__noise_multiplier=9.0), None), number)
    with pytest.raises(StaleCopyError, match="not the one"):
        anchor.check(other)


def test_a_ledger_that_went_on_is_not_refused(tmp_path: Path, anchor: LedgerAnchor) -> None:
    book = ledger(tmp_path)
    anchor.check(book)
    anchor.move(book)
    for number in (1, 2, 3):
        spend(book, claim_of(recipe(), None), number)
        anchor.check(book)
