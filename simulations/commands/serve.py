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
        int | None,
        typer.Option(
            min=0, help="Devices that must be expected to be drawn, of those online, before a round."
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field, as federation.rounds=3; repeatable."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a run folder, a checkpoint, 'packaged' or 'random'; by default the packaged "
            "ones where the recipe's model is theirs."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The federation's name, as those who join see it.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start although devices decline, or noise dominates.")
    ] = False,
    charge_lost: Annotated[
        bool,
        typer.Option(
            "--charge-lost", help="Go on from an older copy, with the rounds it forgot counted as spent."
        ),
    ] = False,
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

        fedvoice serve --recipe live --address voices.example.org:8443 --population 2000 --quorum 200

        fedvoice serve --set federation.rounds=15

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
    chosen = _recipe(where, recipe, changes)
    settings = _prepare(
        where, chosen, tuple(address or ()), listen, population, base, name, force, charge_lost
    )
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
    from shared_models.shown_epsilon import epsilon_shown
    from simulations.commands.serve_reasons import cell, grouped_of

    where = _existing(home)
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
    recipe: Any,
    addresses: tuple[str, ...],
    listen: str | None,
    population: int | None,
    base: str | None,
    name: str | None,
    force: bool,
    charge_lost: bool,
) -> Any:
    from server.live.setup import Wanted, prepare
    from simulations.commands.serve_outlook import outlook, refuse_unless_forced

    def judge(plan: Any, forced: bool) -> None:
        found = outlook(plan)
        for line in (*found.lines(), *refuse_unless_forced(found, forced)):
            console.notices().print(line, highlight=False, markup=False, soft_wrap=True)

    initial = None if base is None and where.exists else _initial(base)
    wanted = Wanted(recipe, addresses, listen, population, name, initial, force, charge_lost, judge)
    return prepare(where, wanted)


def _recipe(where: Any, name: str | None, changes: list[str]) -> Any:
    from shared_models.config import parse_override
    from simulations.recipes import find_recipe

    if name is not None:
        return find_recipe(name, changes)
    if changes and where.exists:
        return where.recipe().override(dict(parse_override(text) for text in changes))
    return None


def _initial(base: str | None) -> Callable[[Any], Any]:
    from client.base_model import load_base, packaged_base
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


def _serve(where: Any, settings: Any, stay: bool) -> None:
    from server.live.supervisor import Supervisor, View
    from shared_models.errors import ServiceError

    notices = console.notices()
    with notices.status(f"starting on {settings.listen}") as line:
        said = ""

        def show(view: View) -> None:
            nonlocal said
            text = _status_line(view.standing) + (f"; {view.trouble}" if view.trouble else "")
            # The notices may go to a file on a disk that is full.
            with suppress(OSError):
                if text != said and notices.is_terminal:
                    line.update(Text(text))
                elif text != said:
                    notices.print(text, highlight=False, soft_wrap=True)
            said = text

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
    from shared_models.config import UNPROTECTED
    from shared_models.shown_epsilon import epsilon_shown

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
    return _status_line(standing if over else replace(standing, state="not finished", problem=""))


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "now" if seconds < 20 else f"{seconds:.0f} s ago"
