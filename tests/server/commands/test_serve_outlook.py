"""What ``fedvoice serve`` says before it starts, and that it starts nothing that cannot work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client.home.policy import Policy
from client.verdict import verdict_by_default
from server.app import plan_for
from server.commands.serve_outlook import Outlook, outlook, refuse_unless_forced
from server.live.setup import settled
from server.rosters import NobodyYet
from shared_models.errors import PrivacyError, RecipeError, ServiceError
from shared_models.recipes import find_recipe, recipe_names
from simulations.cli import app

OTHERS = sorted(set(recipe_names()) - {"live", "base_voice", "wav2vec2", "hubert"})
"""All whose weights ship, or need none."""


def seen(name: str, population: int, *changes: str) -> Outlook:
    recipe = settled(find_recipe(name, list(changes)), population)
    return outlook(
        replace(plan_for(recipe, Path("nowhere"), "run", population), roster=NobodyYet()), verdict_by_default
    )


def test_the_recipe_live_is_taken_by_every_default_device_and_by_serve() -> None:
    found = seen("live", 2000)
    assert found.problems() == []
    assert (found.mode, found.drawn, found.needed, found.declined) == ("central", 1000, 8, "")
    assert found.privacy is not None
    assert 7.9 < found.privacy.epsilon <= 8.0
    assert found.privacy.signal_to_noise > 1 / 3
    said = "\n".join(found.lines())
    for part in (
        "mode central",
        "1,000 of 2,000 people",
        "epsilon 8.00 at delta 1e-05",
        "signal to noise 0.4",
        "takes part",
    ):
        assert part in said


def test_four_devices_are_drowned_by_noise_and_only_force_starts_them() -> None:
    found = seen("live", 4)
    assert (found.drawn, found.needed, found.declined) == (4, 4, "")
    with pytest.raises(
        ServiceError, match=r"noise dominates: at best the signal is 0.0012 times the noise.*--force"
    ):
        refuse_unless_forced(found, forced=False)
    (warning,) = refuse_unless_forced(found, forced=True)
    assert warning.startswith("started all the same: noise dominates")


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_recipes_are_plainly_refused(name: str) -> None:
    found = seen(name, 50)
    assert found.privacy is None
    with pytest.raises(
        ServiceError, match=r"default policy decline this recipe: policy modes: .*'none'.*--force"
    ):
        refuse_unless_forced(found, forced=False)
    said = "\n".join(found.lines())
    assert "mode unprotected" in said
    assert "epsilon" not in said


@pytest.mark.parametrize(
    ("population", "changes", "problem", "reason"),
    [
        (3, [], RecipeError, "3 people are expected a round and federation.minimum_cohort is 4"),
        (2000, ["federation.quorum=1001"], RecipeError, "would never start"),
        (200_000, [], RecipeError, "delta 1e-05 is not below one over the population of 200000"),
        (2000, ["privacy.noise_cohort=5000", "privacy.population=20000"], PrivacyError, "for simulations"),
    ],
)
def test_what_cannot_be_is_refused_with_or_without_force(
    population: int, changes: list[str], problem: type[Exception], reason: str
) -> None:
    with pytest.raises(problem, match=reason):
        seen("live", population, *changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["privacy.epsilon=50"], "policy epsilon_per_run: .* 10 rounds come to epsilon"),
        (["privacy.clipping_norm=50"], "policy maximum_clipping_norm"),
        (["federation.cohort=3", "federation.minimum_cohort=1"], "policy minimum_cohort"),
        (["client.batch_size=1"], "policy minimum_batch"),
        (["federation.algorithm=full"], "policy allowed_shared"),
    ],
)
def test_what_a_default_device_would_say_is_foretold(changes: list[str], reason: str) -> None:
    found = seen("live", 2000, *changes)
    with pytest.raises(ServiceError, match=f"devices with the default policy decline this recipe: {reason}"):
        refuse_unless_forced(found, forced=False)


def test_the_prediction_is_the_policys_own() -> None:
    recipe: Any = settled(find_recipe("live"), 2000)
    assert Policy().refusal(recipe) is None
    assert Policy().refusal_of_cohort(recipe, 2000) is None


@pytest.mark.parametrize("name", ["default", "live"])
def test_a_refused_start_leaves_no_home(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    arguments = ["--home", str(home), "--address", "127.0.0.1:1", "--population", "4"]
    with pytest.raises(ServiceError, match="--force"):
        CliRunner().invoke(app, ["serve", *arguments, "--recipe", name], catch_exceptions=False)
    assert not home.exists()
