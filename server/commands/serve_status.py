"""``fedvoice serve status``, ``rounds`` and ``devices``: what a server's home tells of its federation."""

from __future__ import annotations

import time
from typing import Any

import typer
from rich.table import Table

from server.commands.homes import HomeOption, devices_of, existing
from server.commands.serve_reasons import cell, grouped_of, lines, places_line
from shared_models import console
from shared_models.shown_epsilon import epsilon_shown
from shared_models.shown_text import shown


def status(home: HomeOption = None, as_json: console.JsonOption = False) -> None:
    """Show where the federation stands; exit 0 if the server is up, 1 if not."""
    from dataclasses import asdict

    from server.live.journal import read_standing
    from server.live.places import places
    from server.live.supervisor import disk_problem, healthy

    where = existing(home)
    standing, devices = read_standing(where.folder), devices_of(where)
    up = where.running() is not None and healthy(where)
    data: dict[str, Any] = {
        "up": up,
        **asdict(standing),
        "devices": {state: sum(d.state == state for d in devices) for state in ("active", "revoked", "left")},
        "places": places(where.settings().population, devices),
        "population": where.settings().population,
        "address": where.settings().address,
        "disk": disk_problem(where),
    }
    if as_json:
        console.print_json(data)
    else:
        told = [
            status_line(standing) if up else "not running; " + _last_line(standing),
            f"{data['devices']['active']} of {data['population']} places taken, at {data['address']}",
            f"places: {places_line(data['places'])}",
            *([data["disk"]] if data["disk"] else []),
            *(f"left out last: {line}" for line in lines(standing.grouped)),
        ]
        for line in told:
            console.output().print(line, highlight=False, markup=False, soft_wrap=True)
    if not up:
        raise typer.Exit(1)


def rounds(home: HomeOption = None, as_json: console.JsonOption = False) -> None:
    """List the finished rounds."""
    from server.live.journal import read_rounds

    where = existing(home)
    protection = where.recipe().protection
    done = [{**line, "protection": protection} for line in read_rounds(where.folder)]
    if as_json:
        console.print_json(done)
        return
    table = Table("round", "updates", "left out", "ε", "seconds")
    for line in done:
        left_out = cell(grouped_of(line))
        spent = line["protection"] if line["epsilon"] is None else epsilon_shown(line["epsilon"])
        table.add_row(str(line["round"]), str(line["clients"]), left_out, spent, f"{line['seconds']:.1f}")
    console.output().print(table)


def devices(home: HomeOption = None, as_json: console.JsonOption = False) -> None:
    """List the devices that ever joined."""
    known = devices_of(existing(home))
    if as_json:
        console.print_json(
            [
                {
                    "device": d.member, "name": d.name, "key": d.fingerprint, "state": d.state,
                    "version": d.version,
                    "enrolled_at": d.enrolled_at, "last_seen": d.last_seen,
                }
                for d in known
            ]
        )  # fmt: skip
        return
    table = Table("number", "name", "key", "state", "version", "last seen")
    for d in known:
        seen = _ago(time.time() - d.last_seen)
        table.add_row(str(d.member), shown(d.name), d.fingerprint[:16], d.state, shown(d.version), seen)
    console.output().print(table)


def status_line(standing: Any) -> str:
    """Where a federation stands, in one line."""
    from shared_models.config import UNPROTECTED

    parts = [f"round {standing.round} of {standing.rounds}", standing.state]
    if standing.state == "training":
        parts.append(f"{standing.answered} of {standing.asked} devices answered")
    if standing.epsilon is not None:
        parts.append(f"ε {epsilon_shown(standing.epsilon)}")
    elif standing.protection == UNPROTECTED:
        parts.append(UNPROTECTED)
    if standing.problem:
        parts.append(standing.problem)
    return ", ".join(parts)


def _last_line(standing: Any) -> str:
    """Of a server that is not running: where it got to. What it waited for is over with it."""
    from dataclasses import replace

    over = standing.state in ("done", "stopped")
    return status_line(standing if over else replace(standing, state="not finished", problem=""))


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "now" if seconds < 20 else f"{seconds:.0f} s ago"
