"""A server that lies: free releases, a coin that is none, and files that were deleted or restored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from live_device import Made, allow, ask, bytes_of, device_of, digest_of, question
from tiny_federation import tiny_model

from client import app as device_app
from client.home import ledger_anchor
from client.home.ledger import Ledger
from client.home.spending import spent_without_sampling
from client.rounds.answers import Answers
from client.rounds.outbox import Outbox
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.errors import DeclinedError, FedVoiceError, PrivacyError, StorageError
from shared_models.refusals import Refused

pytestmark = pytest.mark.usefixtures("alone")
WIDE = {"total_epsilon": 1000.0, "epsilon_per_run": 1000.0, "total_epsilon_without_sampling": 1000.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home, recipe = device_of(tmp_path_factory.mktemp("lies"), federation__rounds=20)
    allow(home, **WIDE)
    return home, recipe


def spent(home: Path) -> float:
    return Ledger(home / "ledger.sqlite", None, 1e-5).spent("person")


def full(rounds: int) -> float:
    return epsilon_of([SampledGaussian(1.0, 1.0, rounds)], 1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1000}, {"privacy.clipping_norm": 10.0}, {"client.outer_lr": 2e-3}, {"client.outer_steps": 2},
        {"privacy.noise_multiplier": 0.5}, {"client.batch_size": 3}, {"federation.sampling": "poisson"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_another_form_of_a_round_that_was_paid_for_is_declined_with_both_values(
    device: Made, changes: dict[str, Any]
) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    # Another run in between, which used to push the first one's letters out.
    bytes_of(ask(home, question(recipe, 1, run="other")))
    before = spent(home)
    field, value = next(iter(changes.items()))
    with pytest.raises(DeclinedError, match=field) as caught:
        ask(home, question(recipe.override(changes), 1))
    assert repr(value) in str(caught.value)
    with pytest.raises(DeclinedError, match=field):
        ask(home, question(recipe.override(changes), 2))
    assert spent(home) == before


def test_the_first_answer_is_sent_again_after_any_number_of_other_runs(
    device: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, recipe = device
    first = bytes_of(ask(home, question(recipe, 1)))
    for name in "BCD":
        bytes_of(ask(home, question(recipe, 1, run=name)))
    before = spent(home)
    monkeypatch.setattr(device_app, "train_device", lambda *_: pytest.fail("trained again"))
    assert bytes_of(ask(home, question(recipe, 1, attempt=7))) == first
    assert spent(home) == before == full(4)


@pytest.mark.parametrize(
    "changes",
    [{"federation.rounds": 40}, {"federation.quorum": 1, "federation.deadline_seconds": 9.0}],
    ids=["rounds", "quorum and deadline"],
)
def test_what_an_operator_may_change_is_answered_and_charged(device: Made, changes: dict[str, Any]) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    bytes_of(ask(home, question(recipe.override(changes), 2)))
    assert spent(home) == full(2)
    # And the same round in that other form is one more release.
    bytes_of(ask(home, question(recipe.override(changes | {"federation.rounds": 41}), 2)))
    assert spent(home) == full(3)


def test_another_population_is_another_recipe(device: Made) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1, population=4)))
    with pytest.raises(DeclinedError, match="population was 4"):
        ask(home, question(recipe, 2, population=5))


def test_a_letter_that_is_gone_is_not_trained_again(device: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    bytes_of(ask(home, question(recipe, 2)))
    for path in (home / "outbox").rglob("round-00000001-*"):
        path.unlink()
    for path in (home / "outbox").rglob("round-00000002-*"):
        path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(device_app, "train_device", lambda *_: pytest.fail("trained again"))
    for number in (1, 2):
        with pytest.raises(
            DeclinedError, match=f"round {number} was answered and its answer is no longer kept"
        ):
            ask(home, question(recipe, number))


def test_the_outbox_keeps_to_its_bound(device: Made) -> None:
    home, recipe = device
    allow(home, **WIDE, outbox_megabytes=0.2)
    for number in range(1, 5):
        bytes_of(ask(home, question(recipe, number)))
    kept = list((home / "outbox").rglob("round-*"))
    assert 1 <= len(kept) < 4
    assert sum(path.stat().st_size for path in kept) <= 0.2e6 or len(kept) == 1


class Crash(BaseException):
    """The process dies here."""


CRASHES = {
    "before the home has an identity": ("client.rounds.live_round.write_atomically", 0),
    "before its memory outside is compared": ("client.home.ledger_anchor.LedgerAnchor.check", 0),
    "before anything is paid": ("client.rounds.live_round.reserve_round", 0),
    "after it was paid": ("client.rounds.answers.Answers.begin", 1),
    "after the run was pinned": ("client.rounds.answers.Answers.admit", 1),
    "while training": ("client.app.train_device", 1),
    "before the letter is kept": ("client.rounds.outbox.Outbox.put", 1),
    "after the letter was kept": ("client.rounds.answers.Answers.answer", 1),
}


@pytest.mark.parametrize("place", CRASHES)
def test_a_crash_at_any_point_costs_once_and_answers_after_all(
    device: Made, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    home, recipe = device
    target, entries = CRASHES[place]

    def die(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(target, die)
        with pytest.raises(Crash):
            ask(home, question(recipe, 1))
    assert len(Ledger(home / "ledger.sqlite", None, 1e-5).history()) == entries
    assert not any(record.answered for record in Answers(home).all().values())
    answer = bytes_of(ask(home, question(recipe, 1, attempt=2)))
    assert spent(home) == full(1)
    assert bytes_of(ask(home, question(recipe, 1, attempt=3))) == answer
    # It goes on, and nothing of the crash looks like a lost file.
    bytes_of(ask(home, question(recipe, 2, seen=1)))
    assert spent(home) == full(2)


def test_a_letter_that_was_kept_before_a_crash_is_marked_before_it_leaves(
    device: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, recipe = device
    asked = question(recipe, 1)

    def refuse(*_: Any) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("client.rounds.answers.Answers.answer", refuse)
        with pytest.raises(FedVoiceError, match="disk is full"):
            ask(home, asked)
        assert Outbox(home / "outbox").find("run", 1, digest_of(asked)) is not None
        with pytest.raises(FedVoiceError, match="disk is full"):
            ask(home, asked)
    monkeypatch.setattr(device_app, "train_device", lambda *_: pytest.fail("trained again"))
    bytes_of(ask(home, asked))
    assert Answers(home).of("run").answered == {digest_of(asked)}


def test_a_server_restored_from_an_old_copy_is_declined_and_told_why(device: Made) -> None:
    home, recipe = device
    for number in (1, 2, 5):
        bytes_of(ask(home, question(recipe, number)))
    # One checkpoint back: the last round on the same weights.
    before = spent(home)
    bytes_of(ask(home, question(recipe, 5, attempt=2)))
    for number in (5, 2, 3):
        with pytest.raises(
            DeclinedError,
            match=f"restored from an older copy: it asks for round {number} and this device answered round 5",
        ):
            ask(home, question(recipe, number, shift=1e-3))
    assert spent(home) == before
    bytes_of(ask(home, question(recipe, 6, shift=1e-3)))


def test_a_round_beyond_the_recipes_last_is_declined(device: Made) -> None:
    home, recipe = device
    with pytest.raises(DeclinedError, match="20 rounds and this is round 21"):
        ask(home, question(recipe, 21))


def test_no_more_answers_than_the_owner_allows(device: Made) -> None:
    home, recipe = device
    allow(home, **WIDE, maximum_answers_per_run=2)
    for number in (1, 2):
        bytes_of(ask(home, question(recipe, number)))
    with pytest.raises(DeclinedError, match=r"maximum_answers_per_run.*at most 2"):
        ask(home, question(recipe, 3))
    bytes_of(ask(home, question(recipe, 2, attempt=2)))


LYING = {"federation.sampling": "poisson", "federation.rounds": 1000, "federation.cohort": 5}


def test_a_device_that_is_asked_too_often_stops_for_good_and_says_so(device: Made) -> None:
    home, recipe = device
    lying = recipe.override(LYING)
    answered, said = 0, ""
    for number in range(1, 30):
        try:
            bytes_of(ask(home, question(lying, number, population=1000)))
            answered += 1
        except DeclinedError as error:
            said = Refused.parse(str(error)).said
            break
    assert 1 <= answered <= 4
    assert f"asked in {answered + 1} of {answered + 1} rounds" in said
    assert "0.005" in said
    # Persisted, for questions that would be innocent by themselves and for those that were answered too.
    for number in (900, 1):
        with pytest.raises(DeclinedError, match="answers nothing more of this run"):
            ask(home, question(lying, number, population=1000))
    assert Answers(home).of("run").stopped == said
    bytes_of(ask(home, question(recipe, 1, run="another")))


def test_the_second_figure_counts_rounds_that_a_plan_covers(device: Made) -> None:
    home, recipe = device
    planned = recipe.override(LYING)
    for number in (300, 800):
        bytes_of(ask(home, question(planned, number, population=100)))
    ledger = Ledger(home / "ledger.sqlite", None, 1e-5)
    assert [entry.spend.steps for entry in ledger.history()] == [1000, 0, 0]
    assert spent_without_sampling(ledger) == pytest.approx(full(2), rel=2e-3)
    assert ledger.spent("person") == epsilon_of([SampledGaussian(1.0, 0.05, 1000)], 1e-5)


def test_without_sampling_there_is_a_budget_too(device: Made) -> None:
    home, recipe = device
    allow(home, **WIDE | {"total_epsilon_without_sampling": full(2) + 0.01})
    planned = recipe.override(LYING)
    for name in "AB":
        bytes_of(ask(home, question(planned, 500, run=name, population=100_000)))
    with pytest.raises(DeclinedError, match="total_epsilon_without_sampling") as caught:
        ask(home, question(planned, 500, run="C", population=100_000))
    assert f"{full(2):.3g} at" not in str(caught.value).replace(f"{full(2) + 0.01:g}", "")


def test_a_recipes_population_must_be_the_servers(device: Made) -> None:
    home, recipe = device
    lying = recipe.override(LYING | {"privacy.population": 10**9, "privacy.delta": 1e-10})
    for header in ({"population": 50}, {}):
        with pytest.raises(DeclinedError, match=r"privacy\.population is 1000000000"):
            ask(home, question(lying, 1, **header))
    assert not (home / "ledger.sqlite").exists()


def test_too_small_a_cohort_is_declined_by_recipe_and_by_population(device: Made) -> None:
    home, recipe = device
    allow(home, minimum_cohort=4)
    with pytest.raises(DeclinedError, match=r"minimum_cohort.*1 expected.*at least 4"):
        ask(home, question(recipe, 1))
    with pytest.raises(DeclinedError, match=r"minimum_cohort.*3 expected.*at least 4"):
        ask(home, question(recipe.override({"federation.cohort": 8}), 1, population=3))


def test_weights_out_of_reach_are_declined_and_nothing_is_spent(device: Made) -> None:
    home, recipe = device
    with pytest.raises(DeclinedError, match="weights_reach"):
        ask(home, question(recipe, 1, shift=3.0))
    with pytest.raises(DeclinedError, match="not finite"):
        ask(home, question(recipe, 1, shift=float("nan")))
    assert not (home / "ledger.sqlite").exists()
    # Against the last round's, once there is one.
    bytes_of(ask(home, question(recipe, 1)))
    model = tiny_model(recipe)
    norm = next(t for t in model.partition.shared if t.name.endswith("attention_norm.weight"))
    shift = torch.zeros(model.partition.size)
    shift[norm.start : norm.stop] = 0.8
    with pytest.raises(DeclinedError, match="last saw 1,"):
        ask(home, question(recipe, 2, shift=shift))
    allow(home, **WIDE, weights_reach=0)
    bytes_of(ask(home, question(recipe, 2, shift=shift)))


def forget_outside() -> None:
    shutil.rmtree(ledger_anchor.state_folder())


LOST = {
    "the ledger, its memory outside, and the answers; outbox kept": (
        "ledger.sqlite*",
        "answers.jsonl",
        "personal",
    ),
    "the ledger and its memory; answers kept": ("ledger.sqlite*", "outbox", "personal"),
    "all but the personal voice": ("ledger.sqlite*", "answers.jsonl", "outbox"),
    "all but the identity": ("ledger.sqlite*", "answers.jsonl", "outbox", "personal"),
    "the answers alone": ("answers.jsonl",),
}


@pytest.mark.parametrize("what", LOST)
def test_a_ledger_that_was_deleted_with_its_memory_is_noticed_and_refused(
    device: Made, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    home, recipe = device
    for number in (1, 2):
        bytes_of(ask(home, question(recipe, number)))
    forget_outside()
    for pattern in LOST[what]:
        for path in home.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # As the worker does at its start, which makes an empty ledger.
    Ledger(home / "ledger.sqlite", None, 1e-5)
    monkeypatch.setattr(device_app, "train_device", lambda *_: pytest.fail("trained"))
    with pytest.raises(FedVoiceError, match="StaleCopyError: the device's files are an older copy") as caught:
        ask(home, question(recipe, 3))
    assert str(home) not in str(caught.value)
    told = (home / "training.jsonl").read_text().splitlines()[-1]
    assert "newest" in told


def test_a_home_that_moved_whole_to_another_computer_goes_on(device: Made, tmp_path: Path) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    shutil.move(home, tmp_path / "moved")
    forget_outside()
    bytes_of(ask(tmp_path / "moved", question(recipe, 2, seen=1)))


def test_an_older_copy_is_told_by_the_memory_outside_alone(device: Made, tmp_path: Path) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    shutil.copytree(home, tmp_path / "backup")
    bytes_of(ask(home, question(recipe, 2)))
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "backup", home)
    # The server counts nothing, as one that wants the round again would say, and all files of the home agree.
    with pytest.raises(FedVoiceError, match="StaleCopyError"):
        ask(home, question(recipe, 2, shift=1e-3))
    assert "where this computer remembers 2" in (home / "training.jsonl").read_text()


def test_a_copy_from_within_a_round_is_told_by_the_servers_count(device: Made) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    lines = (home / "answers.jsonl").read_text().splitlines(keepends=True)
    (home / "answers.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(FedVoiceError, match="StaleCopyError"):
        ask(home, question(recipe, 2, seen=1))


STRAY = '{"run": "a", "event": "answered", "question": "x"}\n'


@pytest.mark.parametrize("damage", ["no json\n", '{"run": 3}\n', "[1]\n", STRAY])
def test_a_damaged_memory_of_answers_lets_nothing_leave(device: Made, damage: str) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    with (home / "answers.jsonl").open("a") as file:
        file.write(damage)
    with pytest.raises(PrivacyError, match="damaged"):
        Answers(home).all()
    with pytest.raises(FedVoiceError, match="PrivacyError"):
        ask(home, question(recipe, 2))


def test_a_line_that_a_crash_tore_is_no_damage(device: Made) -> None:
    home, recipe = device
    bytes_of(ask(home, question(recipe, 1)))
    with (home / "answers.jsonl").open("a") as file:
        file.write('{"run": "half')
    bytes_of(ask(home, question(recipe, 2, seen=1)))
    assert Answers(home).of("run").rounds == [1, 2]
