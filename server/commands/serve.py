"""``fedvoice serve``: a live federation's server, and what its operator asks of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Annotated, Any, cast

import typer
from rich.text import Text

from server.commands import serve_publish, serve_start, serve_status
from server.commands.homes import HomeOption, existing
from server.commands.other_rooms import rooms_of
from server.commands.serve_status import status_line
from shared_models import console
from shared_models.shown_text import shown

app = typer.Typer(
    help="Serve a live federation to real devices.", invoke_without_command=True, no_args_is_help=False
)


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
    chosen = serve_start.recipe_of(where, recipe, changes)
    settings = serve_start.prepare(
        where, chosen, tuple(address or ()), listen, population, base, name, force, charge_lost,
        rooms_of(context),
    )  # fmt: skip
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
def stop(home: HomeOption = None) -> None:
    """Stop the server that runs on a home; fedvoice serve goes on from there."""
    where = existing(home)
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
    where = existing(home)
    registry = Registry(where.registry)
    found = registry.named(meant[0][1], by=cast("Any", meant[0][0]))
    # The running server reads the registry every second, and withdraws the key from Flower when it next starts.
    registry.withdraw(found.public_key, "revoked")
    console.notices().print(f"device {found.member} ({shown(found.name)}) is shut out", highlight=False)


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

    run_flwr(existing(home), arguments or ["--help"])


app.command("status")(serve_status.status)
app.command("rounds")(serve_status.rounds)
app.command("devices")(serve_status.devices)
app.command("publish")(serve_publish.publish)


def _serve(where: Any, settings: Any, stay: bool) -> None:
    from server.live.supervisor import Supervisor, View
    from shared_models.errors import ServiceError

    notices = console.notices()
    with notices.status(f"starting on {settings.listen}") as line:
        said = ""

        def show(view: View) -> None:
            nonlocal said
            text = status_line(view.standing) + (f"; {view.trouble}" if view.trouble else "")
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
