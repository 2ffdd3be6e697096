"""``fedvoice serve``: a live federation's server, and what its operator asks of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table
from rich.text import Text

from shared_models.shown_text import shown
from simulations.commands import console, serve_publish

app = typer.Typer(
    help="Serve a live federation to real devices.", invoke_without_command=True, no_args_is_help=False
)
HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The server's home; ~/.fedvoice/server by default.")
]


@app.callback()
def serve(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Option(help="A shipped recipe's name, or a .toml file; needed the first time.")
    ] = None,
    home: HomeOption = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            help="HOST:PORT at which devices reach this machine; repeatable, the first is in join codes."
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="HOST:PORT to bind; all interfaces at the address's port by default.")
    ] = None,
    population: Annotated[
        int | None, typer.Option(min=1, help="How many people may join; the recipe's cohort by default.")
    ] = None,
    quorum: Annotated[
        int | None, typer.Option(min=0, help="Devices that must be online before a round begins.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field, as federation.rounds=3; repeatable."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Weights to start from: a run folder, a checkpoint, or 'packaged'.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The federation's name, as those who join see it.")] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Keep serving after the last round.")] = False,
    print_systemd: Annotated[
        bool, typer.Option("--print-systemd", help="Print a systemd user unit.")
    ] = False,
    print_containerfile: Annotated[
        bool, typer.Option("--print-containerfile", help="Print a container file.")
    ] = False,
) -> None:
    """Serve a federation until its last round is done. Run it again after whatever stopped it: it goes on.

    Examples:

        fedvoice serve --recipe default --address voices.example.org:8443 --population 50

        fedvoice serve

        fedvoice serve status
    """
    if context.invoked_subcommand is not None:
        return
    from server.live.home import ServerHome

    where = ServerHome.at(home)
    if print_systemd or print_containerfile:
        from server.live.installation import containerfile, systemd_unit

        sys.stdout.write(systemd_unit(where.folder) if print_systemd else containerfile())
        return
    first = not where.exists
    changes = [*(override or []), *([f"federation.quorum={quorum}"] if quorum is not None else [])]
    settings = _prepare(where, recipe, changes, tuple(address or ()), listen, population, base, name)
    if first:
        console.notices().print(
            f"made {where.folder}: keep it private, it holds the keys; invite devices with "
            f"fedvoice invite --home {where.folder}",
            highlight=False,
            soft_wrap=True,
        )
    with console.resumable(f"fedvoice serve --home {where.folder}"):
        _serve(where, settings, stay)


@app.command()
def status(home: HomeOption = None, as_json: console.JsonOption = False) -> None:
    """Show where the federation stands; exit 0 if the server is up, 1 if not."""
    from dataclasses import asdict

    from server.live.journal import read_standing
    from server.live.places import places
    from server.live.supervisor import disk_problem, healthy
    from simulations.commands.serve_reasons import lines, places_line

    where = _existing(home)
    standing, devices = read_standing(where.folder), _devices(where)
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
            _status_line(standing) if up else "not running; " + _last_line(standing),
            f"{data['devices']['active']} of {data['population']} places taken, at {data['address']}",
            f"places: {places_line(data['places'])}",
            *([data["disk"]] if data["disk"] else []),
            *(f"left out last: {line}" for line in lines(standing.grouped)),
        ]
        for line in told:
            console.output().print(line, highlight=False, markup=False, soft_wrap=True)
    if not up:
        raise typer.Exit(1)


@app.command()
def rounds(home: HomeOption = None, as_json: console.JsonOption = False) -> None:
    """List the finished rounds."""
    from server.live.journal import read_rounds
    from simulations.commands.serve_reasons import cell, grouped_of

    done = read_rounds(_existing(home).folder)
    if as_json:
        console.print_json(done)
        return
    table = Table("round", "updates", "left out", "ε", "seconds")
    for line in done:
        left_out = cell(grouped_of(line))
        spent = "" if line["epsilon"] is None else f"{line['epsilon']:.2f}"
        table.add_row(str(line["round"]), str(line["clients"]), left_out, spent, f"{line['seconds']:.1f}")
    console.output().print(table)


@app.command()
def devices(home: HomeOption = None, as_json: console.JsonOption = False) -> None:
    """List the devices that ever joined."""
    known = _devices(_existing(home))
    if as_json:
        console.print_json(
            [
                {
                    "device": d.partition, "name": d.name, "key": d.fingerprint, "state": d.state,
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
        table.add_row(str(d.partition), shown(d.name), d.fingerprint[:16], d.state, shown(d.version), seen)
    console.output().print(table)


@app.command()
def stop(home: HomeOption = None) -> None:
    """Stop the server that runs on a home; fedvoice serve goes on from there."""
    where = _existing(home)
    process = where.running()
    if process is None:
        console.notices().print("no server is running on this home")
        return
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + 60.0
    while where.running() is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    console.notices().print("stopped" if where.running() is None else "asked to stop, and still busy")


@app.command()
def revoke(
    device: Annotated[
        str | None,
        typer.Argument(help="The device's number, name or key, as fedvoice serve devices lists them."),
    ] = None,
    number: Annotated[int | None, typer.Option("--number", help="The device with this number.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The device with this name.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The device with this key.")] = None,
    home: HomeOption = None,
) -> None:
    """Shut a device out: its key is refused from now on, and cannot come back.

    A name may look like a number, and two devices may have one name: where several answer, none is shut out, and
    --number, --name or --key says which is meant.
    """
    from server.live.registry import Registry

    ways = {None: device, "number": number, "name": name, "key": key}
    meant = [(by, str(value)) for by, value in ways.items() if value is not None]
    if len(meant) != 1:
        raise typer.BadParameter("say which device, in one way", param_hint="DEVICE")
    where = _existing(home)
    registry = Registry(where.registry)
    found = registry.named(meant[0][1], by=cast("Any", meant[0][0]))
    # The running server reads the registry every second, and withdraws the key from Flower when it next starts.
    registry.withdraw(found.public_key, "revoked")
    console.notices().print(f"device {found.partition} ({shown(found.name)}) is shut out", highlight=False)


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def flwr(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What flwr is to do: ls, log RUN, stop RUN, supernode list.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Run Flower's own command line against this server, as its operator.

    Examples:

        fedvoice serve flwr ls

        fedvoice serve flwr supernode list
    """
    from server.live.flower_cli import run_flwr

    run_flwr(_existing(home), arguments or ["--help"])


app.command("publish")(serve_publish.publish)


def _existing(home: Path | None) -> Any:
    from server.live.home import ServerHome

    where = ServerHome.at(home)
    where.settings()
    return where


def _devices(where: Any) -> list[Any]:
    from server.live.registry import Registry

    return Registry(where.registry).devices()


def _prepare(
    where: Any,
    recipe: str | None,
    changes: list[str],
    addresses: tuple[str, ...],
    listen: str | None,
    population: int | None,
    base: str | None,
    name: str | None,
) -> Any:
    from server.live.setup import Wanted, prepare
    from shared_models.config import parse_override
    from simulations.recipes import find_recipe

    chosen = None
    if recipe is not None:
        chosen = find_recipe(recipe, changes)
    elif changes and where.exists:
        chosen = where.recipe().override(dict(parse_override(text) for text in changes))
    initial = None if base is None else _initial(base)
    return prepare(where, Wanted(chosen, addresses, listen, population, name, initial))


def _initial(base: str) -> Callable[[Any], Any]:
    from client.base_model import load_base, packaged_base
    from shared_models.errors import CheckpointError

    found = packaged_base() if base == "packaged" else load_base(Path(base))

    def weights(partition: Any) -> Any:
        if partition.schema != found.model.partition.schema:
            raise CheckpointError(
                f"the base {base} is another model than the recipe's: use the recipe that it was trained with"
            )
        return found.model.shared_vector()

    return weights


def _serve(where: Any, settings: Any, stay: bool) -> None:
    from server.live.supervisor import Supervisor, View
    from shared_models.errors import ServiceError

    notices = console.notices()
    with notices.status(f"starting on {settings.listen}") as line:
        shown = ""

        def show(view: View) -> None:
            nonlocal shown
            text = _status_line(view.standing) + (f"; {view.trouble}" if view.trouble else "")
            # The notices may go to a file on a disk that is full.
            with suppress(OSError):
                if text != shown and notices.is_terminal:
                    line.update(Text(text))
                elif text != shown:
                    notices.print(text, highlight=False, soft_wrap=True)
            shown = text

        supervisor = Supervisor(where, show, stay=stay)
        before = {number: signal.signal(number, lambda *_: supervisor.stop()) for number in _SIGNALS}
        try:
            standing = supervisor.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if standing.state == "done":
        notices.print(
            f"done: {standing.rounds} rounds; clone with fedvoice clone --base {where.checkpoints}, and give the model "
            f"to the devices with fedvoice serve publish --home {where.folder}",
            highlight=False,
            soft_wrap=True,
        )
    elif standing.state == "stopped":
        raise ServiceError(standing.problem)
    else:
        notices.print(f"stopped after round {standing.round} of {standing.rounds}", highlight=False)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _status_line(standing: Any) -> str:
    parts = [f"round {standing.round} of {standing.rounds}", standing.state]
    if standing.state == "training":
        parts.append(f"{standing.answered} of {standing.asked} devices answered")
    if standing.epsilon is not None:
        parts.append(f"ε {standing.epsilon:.2f}")
    if standing.problem:
        parts.append(standing.problem)
    return ", ".join(parts)


def _last_line(standing: Any) -> str:
    """Of a server that is not running: where it got to. What it waited for is over with it."""
    from dataclasses import replace

    over = standing.state in ("done", "stopped")
    return _status_line(standing if over else replace(standing, state="not finished", problem=""))


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "now" if seconds < 20 else f"{seconds:.0f} s ago"
