"""What the server's commands ask of rooms that the server does not import. The command line passes it to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from shared_models.config import Recipe


@dataclass(frozen=True, slots=True)
class OtherRooms:
    """Functions of the client and of the simulations, as click's context object."""

    declined: Callable[[Recipe, int], str | None]
    """Why a device with the default policy declines a recipe for so many people; None if it does not."""
    figures: Callable[[Mapping[str, Any]], str]
    """The figures of an evaluation's ``results.json`` as a Markdown table. Raises :class:`CheckpointError`."""


def rooms_of(context: typer.Context) -> OtherRooms:
    """What the command line that runs this command passed."""
    return context.ensure_object(OtherRooms)
