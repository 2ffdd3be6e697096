"""The benchmark of compression: real rounds from the packaged base, with messages of the stated length."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_federation import features_of_tests

from shared_models.errors import RecipeError
from shared_models.recipes import find_recipe
from simulations.benchmarks.compression import START, as_json, measure_compression

SMALL = (
    "federation.rounds=1", "federation.cohort=2", "corpus.speakers=6", "client.inner_steps=1",
    "client.outer_steps=1", "client.batch_size=2", "cloning.steps=1", "evaluation.queries=1",
    "evaluation.speakers=2", "engine.workers=1",
)  # fmt: skip


@pytest.mark.slow
def test_it_compares_every_arm_with_the_first_and_goes_on_where_it_was(tmp_path: Path) -> None:
    recipe = find_recipe("compression", SMALL)
    chosen = {name: recipe.arms[name] for name in ("float32", "top_1_percent")}
    recipe = recipe.model_copy(update={"arms": chosen})
    found = as_json(measure_compression(recipe, tmp_path, cache=features_of_tests()))
    arms = found["arms"]
    assert list(arms) == ["float32", "top_1_percent", START]
    assert arms["float32"]["ratio"] == 1
    assert arms["float32"]["down_bytes"] == 4 * found["coordinates"]
    assert arms["top_1_percent"]["ratio"] > 8
    assert arms["float32"]["similarity_after_difference_percent"]["mean"] == 0
    assert arms["top_1_percent"]["validation_loss"] != arms["float32"]["validation_loss"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("round-*.safetensors")}
    assert as_json(measure_compression(recipe, tmp_path, cache=features_of_tests())) == found
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_recipe_without_arms_is_refused(tmp_path: Path) -> None:
    recipe = find_recipe("compression", SMALL).model_copy(update={"arms": {}})
    with pytest.raises(RecipeError, match="no arms"):
        measure_compression(recipe, tmp_path)


def test_every_packaged_arm_reaches_what_it_is_there_for() -> None:
    from shared_models.base_model import packaged_base
    from shared_models.compression import bytes_a_round

    recipe, partition = find_recipe("compression", ()), packaged_base().model.partition
    whole = 2 * 4 * partition.size
    ratios = {
        name: whole / sum(bytes_a_round(recipe.arm(name).compression, partition)) for name in recipe.arms
    }
    assert ratios["float32"] == 1
    for name in ("int2_up", "top_5_percent", "top_1_percent", "rank_8"):
        assert ratios[name] > 8, name
