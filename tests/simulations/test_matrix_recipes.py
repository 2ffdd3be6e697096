"""Which recipes the matrix has, and that they differ in what they are about alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_models.base_model import packaged_base
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.recipes import find_recipe, recipe_names
from simulations.matrix import recipes
from simulations.matrix.recipes import (
    NO_PAPERS,
    Budget,
    Common,
    entries,
    started,
    steps_a_round,
    voice_recipes,
)
from simulations.pretraining import starting_weights

VOICES = Path(__file__).resolve().parents[2] / "docs" / "voices.md"
COMMON = Common("embedded", Budget(steps=100), train_speakers=3, utterances=4)


def test_all_recipes_of_papers_are_in_it_and_documented() -> None:
    page = VOICES.read_text(encoding="utf-8")
    assert set(recipe_names()) >= NO_PAPERS
    assert set(voice_recipes()) | NO_PAPERS == set(recipe_names())
    assert [name for name in voice_recipes() if f"`{name}`" not in page] == []
    assert {"adaspeech", "whole_model", "ecapa", "x_vector", "d_vector"} <= set(voice_recipes())


def test_what_is_not_a_recipe_s_own_is_the_same_for_all() -> None:
    found = entries(voice_recipes(), COMMON)
    for section in ("corpus", "model", "pretraining", "engine"):
        assert len({getattr(entry.recipe, section).model_dump_json() for entry in found}) == 1, section
    assert found[0].recipe.model == packaged_base().recipe.model
    for entry in found:
        if not entry.name.endswith("_plain"):
            assert entry.recipe.speaker == find_recipe(entry.name).speaker
            assert entry.recipe.cloning == find_recipe(entry.name).cloning
    assert len({entry.digest for entry in found}) == len(found)


def test_where_it_is_computed_makes_no_other_training() -> None:
    (one,), (other,) = (
        entries(["lora"], Common("embedded", COMMON.budget, workers=workers)) for workers in (1, 2)
    )
    assert one.recipe != other.recipe
    assert one.digest == other.digest
    (more,) = entries(["lora"], Common("embedded", COMMON.budget, changes={"speaker.rank": 8}))
    assert more.digest != one.digest


@pytest.mark.parametrize("name", ["adaspeech", "stylespeech", "gst"])
def test_a_start_gives_whatever_fits_and_nothing_else(name: str) -> None:
    [entry] = entries([name], COMMON)
    recipe, share = started(entry.recipe)
    weights = starting_weights(recipe)
    assert weights is not None
    whole = packaged_base()
    if name == "adaspeech":
        assert (recipe.pretraining.fresh, share) == ((), 1.0)
        assert weights.equal(whole.model.shared_vector())
        return
    assert 0.5 < share < 1
    fresh = set(recipe.pretraining.fresh)
    theirs = {tensor.name for tensor in whole.model.partition.shared}
    assert any(tensor.startswith({"gst": "gst.", "stylespeech": "saln_maps."}[name]) for tensor in fresh)
    assert not any(
        tensor in theirs for tensor in fresh if tensor.startswith("acoustic.decoder.0.feed_forward")
    )


def test_a_recipe_with_a_plain_arm_has_a_twin_that_differs_in_that_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arms = {"federated": {}, "plain": {"federation.algorithm": "fedavg"}}

    def learning(name: str) -> Recipe:
        found = find_recipe(name.replace("meta_", ""))
        return found.override({"name": name, "arms": arms}) if name.startswith("meta_") else found

    monkeypatch.setattr(recipes, "find_recipe", learning)
    plain, one, another, same, twin, second = entries(
        ["lora", "meta_lora", "meta_adaspeech", "meta_meta_lora"], COMMON
    )
    assert (plain.plain, one.plain, another.plain) == (None, "meta_lora_plain", "meta_adaspeech_plain")
    assert (twin.name, second.name) == ("meta_lora_plain", "meta_adaspeech_plain")
    assert twin.recipe.override({"name": one.recipe.name, "federation.algorithm": "fedrep"}) == one.recipe
    assert twin.recipe.federation.algorithm == "fedavg"
    assert same.plain == "meta_lora_plain"


def test_episodes_are_trained_where_recordings_are_pooled() -> None:
    [entry] = entries(["meta_stylespeech"], COMMON)
    assert entry.recipe.algorithm.pools_recordings
    assert entry.recipe.episodes.from_round == 1
    assert entry.recipe.speaker == find_recipe("meta_stylespeech").speaker
    assert steps_a_round(entry.recipe) == entry.recipe.federation.cohort * entry.recipe.client.outer_steps


def test_a_recipe_is_named_once() -> None:
    with pytest.raises(RecipeError, match="named twice"):
        entries(["lora", "lora"], COMMON)


@given(st.integers(1, 10**6))
def test_a_budget_is_steps_or_seconds(number: int) -> None:
    assert Budget.of(f"{number}") == Budget(steps=number)
    assert Budget.of(f"{number}.5s") == Budget(seconds=number + 0.5)
    assert str(Budget.of(f"{number}s")) == f"{float(number):g} s"


@pytest.mark.parametrize("text", ["", "0", "0s", "-3", "much", "nan", "nans", "5 minutes"])
def test_what_is_no_budget_is_told(text: str) -> None:
    with pytest.raises(RecipeError, match="--budget takes steps"):
        Budget.of(text)
