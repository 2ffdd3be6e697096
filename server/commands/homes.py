"""The home that a server's commands are about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The server's home; ~/.fedvoice/server by default.")
]


def existing(home: Path | None) -> Any:
    """The :class:`ServerHome` at ``home``. Raises :class:`ServiceError` where there is none."""
    from server.live.home import ServerHome

    where = ServerHome.at(home)
    where.settings()
    return where


def devices_of(where: Any) -> list[Any]:
    """The devices that ever enrolled at the server of this home."""
    from server.live.registry import Registry

    return Registry(where.registry).devices()
