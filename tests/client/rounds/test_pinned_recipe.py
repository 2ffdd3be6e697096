"""A run keeps the recipe that was agreed to, but for what is its operator's own."""

from __future__ import annotations

from typing import Any, cast

import pytest

from client.rounds.answers import RunRecord
from client.rounds.pinned_recipe import THE_OPERATORS_OWN, refusal_of_change
from shared_models.config import Recipe

PLAIN = Recipe().override({"privacy.mode": "central", "privacy.noise_multiplier": 1.0})


def pinned(population: int | None = 100) -> RunRecord:
    return RunRecord(recipe=PLAIN.model_dump(mode="json"), population=population)


def test_nothing_is_pinned_before_the_first_answer_and_the_same_is_no_change() -> None:
    assert refusal_of_change(RunRecord(), PLAIN, 7) is None
    assert refusal_of_change(pinned(), PLAIN, 100) is None


def changed(section: dict[str, Any], prefix: str = "") -> list[str]:
    paths = []
    for name, value in section.items():
        if isinstance(value, dict):
            paths += changed(value, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths


class Asked:
    """A recipe as a server tells it, whatever its values: no validation stands between."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return self._told


@pytest.mark.parametrize("path", changed(PLAIN.model_dump(mode="json")))
def test_every_field_is_kept_but_the_operators_own(path: str) -> None:
    told = PLAIN.model_dump(mode="json")
    *sections, leaf = path.split(".")
    section: Any = told
    for name in sections:
        section = section[name]
    section[leaf] = "something else"
    said = refusal_of_change(pinned(), cast("Recipe", Asked(told)), 100)
    if path in THE_OPERATORS_OWN:
        assert said is None
    else:
        assert said is not None
        assert f"the run's {path} was " in said
        assert "'something else' now" in said


def test_the_population_is_kept_too() -> None:
    said = refusal_of_change(pinned(), PLAIN, 101)
    assert said is not None
    assert "population was 100" in said
    assert "101 now" in said


def test_a_field_that_a_newer_version_brought_is_at_its_default() -> None:
    record = pinned()
    assert record.recipe is not None
    del record.recipe["federation"]["over_sampling"]
    assert refusal_of_change(record, PLAIN, 100) is None


def test_a_server_that_tells_no_folders_any_more_goes_on_with_a_run_of_before() -> None:
    before = PLAIN.override({"corpus.path": "/data/ours/speech", "pretraining.start": "/data/runs/first"})
    record = RunRecord(recipe=before.model_dump(mode="json"), population=100)
    assert refusal_of_change(record, before.without_folders(), 100) is None
    other = before.without_folders().override({"corpus.path": "others"})
    assert "the run's corpus.path was 'speech'" in str(refusal_of_change(record, other, 100))
