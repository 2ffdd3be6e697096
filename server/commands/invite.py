"""``fedvoice invite``: join codes, each for one device."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from shared_models import console

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def invite(
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many codes.")] = 1,
    expires: Annotated[str, typer.Option(help="How long they can be used: 30m, 24h, 7d.")] = "24h",
    home: Annotated[
        Path | None, typer.Option(help="The server's home; ~/.fedvoice/server by default.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Make join codes for devices. Each enrols one device, once: send it over a channel that you trust.

    Examples:

        fedvoice invite

        fedvoice invite --count 5 --expires 7d
    """
    from server.live.home import ServerHome
    from server.live.setup import invite as open_invitations

    codes = open_invitations(ServerHome.at(home), count, lifetime(expires))
    if as_json:
        console.print_json([{"code": code.text(), "expires_at": code.expires_at} for code in codes])
        return
    # Not by rich: a code that is wrapped cannot be copied.
    sys.stdout.writelines(code.text() + "\n" for code in codes)
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(codes[0].expires_at))
    console.notices().print(
        f"for one device each, until {until}; on the device: fedvoice join CODE --voice RECORDINGS",
        highlight=False,
    )


def lifetime(text: str) -> float:
    """Seconds of ``30m``, ``24h`` or ``7d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip().lower())
    if match is None or not 0 < (seconds := float(match[1]) * _UNITS[match[2]]) <= 3650 * _UNITS["d"]:
        raise typer.BadParameter(f"{text!r} is no time: write 30m, 24h or 7d", param_hint="--expires")
    return seconds
