"""What ``fedvoice serve`` settles before it serves: the recipe, the weights, and what speaks against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.commands.other_rooms import OtherRooms
from shared_models import console


def prepare(
    where: Any,
    recipe: Any,
    addresses: tuple[str, ...],
    listen: str | None,
    population: int | None,
    base: str | None,
    name: str | None,
    force: bool,
    charge_lost: bool,
    rooms: OtherRooms,
) -> Any:
    """Make or open the home and say what is known of its federation; gives the home's settings.

    Raises :class:`ServiceError` for a federation that should not start, unless it is forced.
    """
    from server.commands.serve_outlook import outlook, refuse_unless_forced
    from server.live.setup import Wanted
    from server.live.setup import prepare as prepare_home

    def judge(plan: Any, forced: bool) -> None:
        found = outlook(plan, rooms.declined)
        for line in (*found.lines(), *refuse_unless_forced(found, forced)):
            console.notices().print(line, highlight=False, markup=False, soft_wrap=True)

    initial = None if base is None and where.exists else _initial(base)
    wanted = Wanted(recipe, addresses, listen, population, name, initial, force, charge_lost, judge)
    return prepare_home(where, wanted)


def recipe_of(where: Any, name: str | None, changes: list[str]) -> Any:
    """The recipe that the operator names, or the home's with ``changes``; None to go on with the home's."""
    from shared_models.config import parse_override
    from shared_models.recipes import find_recipe

    if name is not None:
        return find_recipe(name, changes)
    if changes and where.exists:
        return where.recipe().override(dict(parse_override(text) for text in changes))
    return None


def _initial(base: str | None) -> Callable[[Any], Any]:
    from shared_models.base_model import load_base, packaged_base
    from shared_models.errors import CheckpointError
    from shared_models.pretrained import ACOUSTIC

    if base == "random" or (base is None and not ACOUSTIC.is_file()):
        return lambda _: None
    found = packaged_base() if base in (None, "packaged") else load_base(Path(str(base)))

    def weights(partition: Any) -> Any:
        if partition.schema != found.model.partition.schema:
            if base is None:
                return None
            raise CheckpointError(
                f"the base {base} is another model than the recipe's: use the recipe that it was trained with"
            )
        return found.model.shared_vector()

    return weights
