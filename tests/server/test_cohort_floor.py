"""How many devices must be online before anybody is drawn, and that nothing is spent until they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from round_players import CLIENTS, Live, plan_of, private_recipe, recipe_of, run
from scipy.stats import binom

from server.cohort_floor import check_cohort, devices_needed
from shared_models.errors import RecipeError


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_one_device_alone_gets_no_round_and_spends_nothing(tmp_path: Path) -> None:
    # The default floor. Before there was one, six rounds of noise were released here, and paid for.
    live = Live.of(private_recipe(federation__rounds=1, federation__minimum_cohort=4), tmp_path)
    live.grid.online = {2}
    thread = threading.Thread(target=live.run)
    thread.start()
    until(lambda: len(live.waits) > 2 or not thread.is_alive())
    assert live.waits, "it did not wait"
    assert "1 of the 4 devices that a round needs are online" in live.waits[-1].reason
    assert not live.grid.asked
    assert not list(tmp_path.iterdir()), "nobody was drawn, nothing was written"
    live.grid.online = {0, 1, 2, 5}
    thread.join(30)
    assert [r.round for r in live.reports] == [1]


def test_quorum_and_floor_count_devices_that_can_be_expected_to_be_drawn(tmp_path: Path) -> None:
    def needed(**changes: object) -> int:
        plan = Live.of(private_recipe(**changes), tmp_path, clients=40).plan
        return devices_needed(plan)

    # A cohort of 10 of 40: every fourth of those online is drawn.
    ten = {"federation__cohort": 10}
    assert needed(**ten, federation__quorum=1) == 4
    assert needed(**ten, federation__quorum=3) == 12
    assert needed(**ten, federation__quorum=10) == 40
    assert needed(**ten, federation__minimum_cohort=4) == 16
    assert needed(**ten, federation__minimum_cohort=4, federation__quorum=7) == 28
    assert needed(federation__cohort=40, federation__quorum=7) == 7
    plain = Live.of(recipe_of(federation__cohort=10), tmp_path, clients=40).plan
    assert devices_needed(plain) == 4, "without privacy there is a quorum and no floor"


@pytest.mark.parametrize("changes", [{"federation__cohort": 3}, {"federation__minimum_cohort": 7}])
def test_a_population_that_is_too_small_is_refused_before_anything(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    recipe = private_recipe(**({"federation__minimum_cohort": 4} | changes))
    with pytest.raises(RecipeError, match=r"expected a round and federation.minimum_cohort is"):
        check_cohort(Live.of(recipe, tmp_path).plan)  # without it a run waits for ever
    with pytest.raises(RecipeError, match=r"expected a round and federation.minimum_cohort is"):
        Live.of(recipe, tmp_path).run()
    with pytest.raises(RecipeError, match=r"expected a round and federation.minimum_cohort is"):
        run(plan_of(recipe, tmp_path, seeded=False))
    run(plan_of(recipe.override({"federation.rounds": 1}), tmp_path)), "a simulation protects nobody"
    with pytest.raises(RecipeError, match="the first round would never start"):
        Live.of(private_recipe(federation__cohort=3, federation__quorum=4), tmp_path).run()


def test_the_default_floor_is_four_and_of_central_privacy_alone(tmp_path: Path) -> None:
    plan = Live.of(private_recipe(), tmp_path).plan
    default = replace(plan, recipe=plan.recipe.override({"federation.minimum_cohort": 4}))
    assert type(plan.recipe.federation)().minimum_cohort == 4
    assert devices_needed(default) == 4
    assert devices_needed(Live.of(recipe_of(), tmp_path).plan) == 1


@pytest.mark.parametrize(("people", "rate", "floor"), [(50, 0.1, 4), (6, 0.5, 2), (CLIENTS, 0.9, 4)])
def test_skipping_a_round_after_the_draw_would_be_a_release_of_its_own(
    people: int, rate: float, floor: int
) -> None:
    # What the module's text says of the other way, and why the floor does not look at who was drawn.
    with_person = binom.sf(floor - 1, people + 1, rate)
    without = binom.sf(floor - 1, people, rate)
    assert with_person - without == pytest.approx(rate * binom.pmf(floor - 1, people, rate))
    assert with_person - without > 1e-3
