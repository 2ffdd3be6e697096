"""A question's digest changes with whatever an answer can depend on, and with nothing that it cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from client.rounds.question import Question
from shared_models import wire
from shared_models.config import Recipe

HEADER: dict[str, Any] = {
    "kind": "weights", "schema": "s", "round": 3, "size": 4, "dtype": "float32", "run": "run",
    "recipe": "{}", "population": 100, "attempt": 1, "seen": 2,
}  # fmt: skip


def digest(recipe: Recipe | None = None, shift: float = 0.0, **fields: Any) -> str:
    header = HEADER | fields
    weights = wire.Weights("s", header["round"], torch.arange(4.0) + shift)
    return Question.of(header, recipe or Recipe(), weights).digest


@pytest.mark.parametrize(
    "fields",
    [
        {"run": "other"}, {"round": 4}, {"population": 101}, {"population": None}, {"schema": "t"},
        {"compression": "int4"}, {"anchor": "ab"}, {"something": "new"},
    ],
)  # fmt: skip
def test_any_other_field_of_the_header_is_another_question(fields: dict[str, Any]) -> None:
    assert digest(**fields) != digest()


def test_other_weights_are_another_question() -> None:
    assert digest(shift=1e-7) != digest()


def _leaves(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in section.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def test_every_number_of_the_recipe_is_in_the_digest() -> None:
    plain, seen, tried = Recipe(), {digest()}, 0
    for name, value in _leaves(plain.model_dump(mode="json")):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        changed = plain.model_copy(deep=True)
        *sections, leaf = name.split(".")
        section: Any = changed
        for part in sections:
            section = getattr(section, part)
        # Past the recipe's own checks: what a digest leaves out must not depend on what is allowed today.
        object.__setattr__(section, leaf, value + 1)
        found = digest(changed)
        assert found not in seen, name
        seen.add(found)
        tried += 1
    assert tried > 60


@pytest.mark.parametrize("fields", [{"attempt": 2}, {"seen": -1}])
def test_the_sending_is_no_part_of_the_question(fields: dict[str, Any]) -> None:
    assert digest(**fields) == digest()


def test_a_digest_has_all_its_bits() -> None:
    assert len(digest()) == 64
