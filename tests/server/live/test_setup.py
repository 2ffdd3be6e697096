"""A server's home as its operator makes and changes it: what is settled, what may change, what never does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_federation import tiny_recipe

from server.accounting import accountant_for
from server.live.federation import INITIAL, live_plan
from server.live.home import ServerHome
from server.live.setup import Wanted, prepare
from server.release_memory import ReleaseMemory
from shared_models.config import Recipe
from shared_models.errors import ServiceError

ADDRESS = ("127.0.0.1:18499",)


def private(**changes: Any) -> Recipe:
    plain = {"privacy__mode": "central", "privacy__epsilon": 6.0, "federation__sampling": "poisson",
             "federation__rounds": 5, "federation__cohort": 8}  # fmt: skip
    return tiny_recipe(**(plain | changes))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerHome:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = ServerHome(tmp_path / "home")
    prepare(made, Wanted(private(), ADDRESS, population=40))
    return made


def finish(home: ServerHome, rounds: int) -> None:
    """Rounds are done, as far as a home can tell."""
    home.checkpoints.mkdir(exist_ok=True)
    (home.checkpoints / f"round-{rounds:05d}.safetensors").write_bytes(b"")


def cost(recipe: Recipe, population: int) -> float:
    accountant = accountant_for(recipe, population)
    assert accountant is not None
    accountant.step(recipe.federation.rounds)
    return accountant.epsilon(recipe.privacy.delta)


def test_the_recipe_is_kept_with_its_noise_and_its_people(home: ServerHome) -> None:
    kept = home.recipe()
    assert (kept.privacy.epsilon, kept.privacy.population, home.settings().target_epsilon) == (None, 40, 6.0)
    assert 5.9 < cost(kept, 40) <= 6.0
    prepare(home, Wanted(private(), population=40))
    assert home.recipe() == kept, "the same command again changes nothing"


def test_more_people_than_there_are_cannot_be_drawn(tmp_path: Path) -> None:
    home = ServerHome(tmp_path / "home")
    prepare(home, Wanted(private(federation__cohort=1000), ADDRESS, population=4))
    assert home.recipe().federation.cohort == 4


def test_rounds_quorum_and_deadline_may_change_and_the_noise_stays(home: ServerHome) -> None:
    before, run = home.recipe(), home.settings().run
    finish(home, 3)
    changed = private(federation__rounds=9, federation__quorum=2, federation__deadline_seconds=60.0)
    prepare(home, Wanted(changed, population=40))
    after = home.recipe()
    assert (after.federation.rounds, after.federation.quorum, after.federation.deadline_seconds) == (
        9,
        2,
        60.0,
    )
    # With the epsilon that was asked for, nine rounds would have taken more noise: what was released had less.
    assert after.privacy.noise_multiplier == before.privacy.noise_multiplier
    assert cost(after, 40) > cost(before, 40) + 0.5
    assert home.settings().run == run
    assert before.same_run_as(after)


@pytest.mark.parametrize(
    "changes",
    [{"client__outer_lr": 0.5}, {"privacy__epsilon": 7.0}, {"privacy__clipping_norm": 2.0}, {"federation__cohort": 9},
     {"federation__minimum_cohort": 2}],
    ids=str,
)  # fmt: skip
def test_nothing_else_changes_once_a_round_is_done(home: ServerHome, changes: dict[str, Any]) -> None:
    before, run = home.recipe(), home.settings().run
    prepare(home, Wanted(private(**changes), population=40))
    assert not before.same_run_as(home.recipe()), "until then it may"
    assert home.settings().run != run, "and devices are asked under another name"
    prepare(home, Wanted(private(), population=40))
    finish(home, 1)
    with pytest.raises(
        ServiceError, match=r"the recipe cannot change .* its rounds, quorum and deadline can"
    ):
        prepare(home, Wanted(private(**changes), population=40))
    with pytest.raises(ServiceError, match="population cannot change"):
        prepare(home, Wanted(population=41))
    with pytest.raises(ServiceError, match="the base cannot change"):
        prepare(home, Wanted(initial=lambda _: None))


def test_rounds_that_are_done_cannot_be_taken_back(home: ServerHome) -> None:
    finish(home, 3)
    with pytest.raises(ServiceError, match=r"3 rounds are done .* cannot be 2"):
        prepare(home, Wanted(private(federation__rounds=2), population=40))


def test_more_people_before_the_first_round_are_accounted_for(home: ServerHome) -> None:
    prepare(home, Wanted(population=50))
    assert (home.settings().population, home.recipe().privacy.population) == (50, 50)


def test_force_is_remembered_and_lost_rounds_are_charged_when_asked(home: ServerHome) -> None:
    assert not live_plan(home).forced
    ReleaseMemory(home.settings().run).move(4)
    prepare(home, Wanted(forced=True))
    prepare(home, Wanted())
    plan = live_plan(home)
    assert (plan.forced, plan.charged_until) == (True, 0), "to force is not to charge"
    prepare(home, Wanted(charge_lost=True))
    assert live_plan(home).charged_until == 4


def test_who_judges_may_refuse_before_anything_is_written(tmp_path: Path) -> None:
    def no(*_: object) -> None:
        raise ServiceError("no")

    home = ServerHome(tmp_path / "home")
    with pytest.raises(ServiceError, match="no"):
        prepare(home, Wanted(private(), ADDRESS, population=40, judge=no))
    assert not home.folder.exists()


def test_a_start_from_random_weights_forgets_the_others(home: ServerHome) -> None:
    plan = live_plan(home)
    prepare(home, Wanted(initial=lambda _: plan.initial + 1))
    assert home.path(INITIAL).exists()
    prepare(home, Wanted(initial=lambda _: None))
    assert not home.path(INITIAL).exists()
