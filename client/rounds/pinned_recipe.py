"""A run's recipe as it was when this device first answered: what of it may change later, and what may not.

A device agrees to a run once. A server that could change the clipping norm, the noise or the seed of a round from
then on could ask for something else under the same name. The operator may add rounds, and change how many
devices a round waits for and how long: none of these makes an answer tell more, and more rounds are charged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from client.rounds.answers import RunRecord
from shared_models.config import PATHS, Recipe, parse_recipe
from shared_models.errors import RecipeError

THE_OPERATORS_OWN = frozenset({"federation.rounds", "federation.quorum", "federation.deadline_seconds"})


def refusal_of_change(record: RunRecord, recipe: Recipe, population: int | None) -> str | None:
    """Why ``recipe`` is not the one that was agreed to, with the first field that differs and both values."""
    if record.recipe is None:
        return None
    before, now = dict(_fields(_as_read_today(record.recipe))), dict(_fields(recipe.model_dump(mode="json")))
    before["population"], now["population"] = record.population, population
    for name in sorted(before.keys() | now.keys()):
        if name in THE_OPERATORS_OWN or before.get(name) == now.get(name):
            continue
        return (
            f"the run's {name} was {before.get(name)!r} when this device first answered and is {now.get(name)!r} now: "
            "a run keeps its recipe, so put it back or start another run"
        )
    return None


def _as_read_today(pinned: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pinned recipe with the fields that a newer version brought, at their defaults; as it is if that fails."""
    try:
        return parse_recipe(pinned, where="the run's first recipe").model_dump(mode="json")
    except RecipeError:
        return pinned


def _fields(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values; a list is one value."""
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _told(f"{prefix}{name}", value)


def _told(name: str, value: Any) -> Any:
    """A value as it is told; servers of before told the whole of a path, and those of today its last name."""
    if name in PATHS and isinstance(value, str):
        return Path(value).name
    return list(value) if isinstance(value, tuple) else value
