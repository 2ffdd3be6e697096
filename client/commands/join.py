"""``fedvoice join``: take part in a federation with this device's recordings, which stay here."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands import device_status
from shared_models import console
from shared_models.shown_text import fit_name, shown


def join(
    code: Annotated[
        str | None, typer.Argument(help="The join code that the operator gave you; none to go on.")
    ] = None,
    voice: Annotated[
        Path | None, typer.Option("--voice", help="Your recordings with their texts: a folder, or a CSV.")
    ] = None,
    home: Annotated[Path, typer.Option("--home", help="Where this device keeps its files.")] = Path(
        "~/.fedvoice/device"
    ),
    name: Annotated[
        str | None,
        typer.Option("--name", help="What the operator sees this device as; the recordings' folder."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Your policy (TOML); a cautious one is written if there is none."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Join without being asked once more.")] = False,
    enrol_only: Annotated[bool, typer.Option("--enrol-only", help="Enrol, and start later.")] = False,
    inspect: Annotated[
        bool,
        typer.Option(
            "--inspect", help="Show what the code's federation trains and how private; join nothing."
        ),
    ] = False,
    get_model: Annotated[
        bool, typer.Option("--get-model", help="Fetch and check the model that the federation published.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="With --get-model: the model's folder; in the home by default."),
    ] = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="Stay when the federation is over: it may be prolonged.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show what the device is doing, and leave it at that.")
    ] = False,
    as_json: console.JsonOption = False,
    print_systemd: Annotated[
        bool, typer.Option("--print-systemd", help="Print a systemd user unit for this device.")
    ] = False,
    print_containerfile: Annotated[
        bool, typer.Option("--print-containerfile", help="Print a container file for a device.")
    ] = False,
) -> None:
    """Join a federation, and train in it while this command runs.

    Examples:

        fedvoice join fedvoice1-... --voice my-recordings/

        fedvoice join

        fedvoice join fedvoice1-... --inspect

        fedvoice join --status

        fedvoice join --get-model --output model/
    """
    home = home.expanduser()
    if print_systemd or print_containerfile:
        from client.live.installation import containerfile, systemd_unit

        sys.stdout.write(systemd_unit(home) if print_systemd else containerfile())
        return
    if status:
        device_status.show(home, as_json)
        return
    if inspect or get_model:
        _look_or_fetch(code, home, policy, output, inspect, as_json)
        return
    if code is not None:
        _enrol(code, voice, home, name, policy, yes)
    elif policy is not None:
        _install_policy(policy, home)
    if not enrol_only:
        _run(home, as_json, stay)


def _look_or_fetch(
    code: str | None, home: Path, policy: Path | None, output: Path | None, inspect: bool, as_json: bool
) -> None:
    from client.commands import join_model

    if not inspect:
        join_model.get_model(home, output, as_json)
        return
    if code is None:
        raise typer.BadParameter("say which federation: fedvoice join CODE --inspect", param_hint="CODE")
    join_model.show_offer(code, home, policy, as_json)


def _enrol(
    code: str, voice: Path | None, home: Path, name: str | None, policy: Path | None, yes: bool
) -> None:
    from client.commands.join_model import look_at
    from client.home.device import Device
    from client.home.policy import load_policy
    from client.live.disclosure import what_is_sent
    from client.live.enrolment import enrol, refuse_name
    from client.live.holding import only_one
    from client.live.home import superexec_secret
    from client.live.inspection import sentences
    from client.live.voice import prepare_voice
    from shared_models.accelerator import Accelerator
    from shared_models.errors import CorpusError, RecipeError
    from shared_models.join_code import JoinCode

    parsed = JoinCode.parse(code)
    if policy is not None and not policy.is_file():
        raise RecipeError(f"there is no policy at {policy}; check the path")
    chosen = load_policy(policy) if policy is not None else load_policy(home / "policy.toml")
    # A device that is not there would end every round's process.
    Accelerator.resolve(chosen.device)
    if voice is None and not (home / "recordings.json").exists():
        raise CorpusError("say where your recordings are: fedvoice join CODE --voice PATH")
    called = name or fit_name(voice.resolve().stem if voice is not None else Device.open(home).speaker)
    refuse_name(called)
    # Before a recording is read: that takes minutes, and the code may be of no use.
    offer, _ = look_at(code, home, policy)
    _say([*sentences(offer, chosen), *what_is_sent(offer.federation, parsed.address, called, chosen)])
    if not yes and not typer.confirm("Join?"):
        raise typer.Abort
    with only_one(home):
        if voice is not None:
            with console.steps_progress("reading your recordings") as progress:
                prepared = prepare_voice(voice, home, called, progress)
            _say([
                f"{len(prepared.device.recordings)} recordings can be used.",
                *(f"left out: {problem}" for problem in prepared.left_out),
                *(f"note: {note}" for note in prepared.notes),
            ])  # fmt: skip
        _install_policy(policy, home)
        membership = enrol(parsed, home, called)
        superexec_secret(home)
    _say(
        [
            f"Enrolled in '{membership.federation}' at {membership.server} as device {membership.member}. Files: {home}"
        ]
    )


def _install_policy(chosen: Path | None, home: Path) -> None:
    from client.home.policy import as_toml, load_policy
    from shared_models.errors import RecipeError
    from shared_models.files import write_atomically

    if chosen is not None:
        if not chosen.is_file():
            raise RecipeError(f"there is no policy at {chosen}; check the path")
        load_policy(chosen)  # A wrong one is not installed.
        write_atomically(home / "policy.toml", chosen.read_text(encoding="utf-8"))
    elif not (home / "policy.toml").exists():
        write_atomically(home / "policy.toml", as_toml(load_policy(home / "policy.toml")))


def _run(home: Path, as_json: bool, stay: bool) -> None:
    from client.commands.join_model import say_finished
    from client.live.supervisor import supervise

    stop = threading.Event()
    with _signals(stop.set), device_status.live(as_json) as draw:
        finished = supervise(home, stop, draw, stay=stay)
    if finished is not None:
        say_finished(finished, home)


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM ask to stop; the device then signs off from its server."""

    def ask(_number: int, _frame: Any) -> None:
        stop()

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _say(sentences: list[str]) -> None:
    for sentence in sentences:
        console.notices().print(shown(sentence), highlight=False)
