"""``fedvoice rehearse``: a live federation on this machine, and whether it ends as the simulation does."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shared_models import console


def rehearse(
    devices: Annotated[int, typer.Option(min=2, max=64, help="How many devices, each with a speaker.")] = 5,
    rounds: Annotated[int | None, typer.Option(min=1, help="How many rounds; the recipe's by default.")] = 5,
    corpus: Annotated[
        str | None, typer.Option(help="A folder or CSV instead of the recipe's corpus, or 'embedded'.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a .toml file.")] = "default",
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field, as client.outer_steps=1; repeatable."),
    ] = None,
    kills: Annotated[
        int, typer.Option(min=0, help="Kill so many processes (kill -9) at random moments of the run.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Who is killed when, with --kills.")] = 0,
    namespaces: Annotated[
        bool,
        typer.Option(
            "--namespaces",
            help="Each process group in a network namespace of its own, with loss and delay (Linux, root).",
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Keep server, devices and simulation in this new folder.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Run the simulation too, and compare the weights.")
    ] = True,
    as_json: console.JsonOption = False,
) -> None:
    """Start a server and devices as separate processes over TLS, run the rounds, compare with the simulation.

    Fails if the final weights differ. The devices' policies allow the recipe's privacy mode, also where that is
    none: rehearse with voices that may be used so.

    Examples:

        fedvoice rehearse

        fedvoice rehearse --recipe real --corpus speech/ --set corpus.utterances=8

        fedvoice rehearse --kills 30 --rounds 20
    """
    from simulations.rehearsal.rehearsal import plan_rehearsal

    with contextlib.ExitStack() as stack:
        folder = _new_folder(output, stack)
        with console.steps_progress("features", quiet=as_json) as progress:
            plan = plan_rehearsal(recipe, devices, rounds, corpus, list(override or []), progress)
        watcher = stack.enter_context(_Screen(as_json))
        stack.enter_context(_sigterm_interrupts())
        outcome = _run(plan, folder, watcher, compare, kills, seed, namespaces)
    figures = {**outcome.figures(), "output": str(output) if output else None}
    if as_json:
        console.print_json(figures)
    else:
        console.output().print(_table(figures))
        console.output().print(_verdict(figures), soft_wrap=True, highlight=False)
    if not figures.get("equal", True) or figures["processes_left_behind"]:
        raise typer.Exit(1)


def _run(
    plan: Any, folder: Path, watcher: _Screen, compare: bool, kills: int, seed: int, namespaces: bool
) -> Any:
    from simulations.rehearsal.rehearsal import rehearse as run

    if not namespaces:
        return run(plan, folder, watcher, compare_too=compare, kills=kills, seed=seed)
    from simulations.rehearsal.namespaces import CutOff, namespaced

    with namespaced(plan.devices) as web:
        cut = CutOff(web, plan.devices - 1, watcher.stage)
        return run(
            plan,
            folder,
            watcher,
            compare_too=compare,
            kills=kills,
            seed=seed,
            network=web.network,
            on_look=cut,
        )


def _new_folder(output: Path | None, stack: contextlib.ExitStack) -> Path:
    from shared_models.errors import StorageError

    if output is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedvoice-rehearsal-")))
    if output.exists() and any(output.iterdir()):
        raise StorageError(f"{output} is not empty: choose a new folder for --output")
    output.mkdir(parents=True, exist_ok=True)
    return output


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends the rehearsal as Ctrl-C does: with all that it started."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Screen:
    """One line that changes on a terminal, and a line a change elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._console = console.notices()
        self._status = self._console.status("")
        self._shown = ""

    def __enter__(self) -> _Screen:
        if not self._quiet and self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def stage(self, title: str) -> None:
        """See :class:`simulations.rehearsal.rehearsal.Watcher`."""
        if not self._quiet:
            self._console.print(f"{time.strftime('%H:%M:%S')}  {title}", highlight=False)

    def view(self, view: Any) -> None:
        """See :class:`simulations.rehearsal.rehearsal.Watcher`."""
        standing = view.standing
        line = (
            f"round {standing.round} of {standing.rounds}, {standing.state}; {view.online} of {view.devices} devices "
            f"online; {view.sent / 1e6:.1f} MB sent, {view.received / 1e6:.1f} MB received"
        )
        if self._quiet or line == self._shown:
            return
        self._shown = line
        if self._console.is_terminal:
            self._status.update(line)
        else:
            self._console.print(line, highlight=False)

    def killed(self, who: str) -> None:
        """See :class:`simulations.rehearsal.rehearsal.Watcher`."""
        self.stage(f"killed: {who}")

    def simulated(self, report: Any) -> None:
        """See :class:`simulations.rehearsal.rehearsal.Watcher`."""
        if self._console.is_terminal:
            self._status.update(f"simulation: round {report.round} of {report.rounds}")


def _table(figures: dict[str, Any]) -> Table:
    title = f"{figures['devices']} devices, {figures['rounds']} rounds"
    table = Table("a round", "median", "each", title=title, title_justify="left")
    rows = [
        ("live, seconds", "live_seconds_median", "live_seconds"),
        ("of it training (slowest device)", None, "training_seconds"),
        ("of it everything else", "overhead_seconds_median", None),
        ("simulation, seconds", "simulation_seconds_median", "simulation_seconds"),
        ("sent, bytes a device", "bytes_sent_a_device_and_round", None),
        ("received, bytes a device", "bytes_received_a_device_and_round", None),
    ]
    for label, middle, each in rows:
        if (middle or each) in figures:
            table.add_row(label, _number(figures.get(middle or "")), _numbers(figures.get(each or "")))
    return table


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:.2f}" for value in values or [])


def _verdict(figures: dict[str, Any]) -> str:
    said = f"{len(figures['killed'])} processes were killed. " if figures["killed"] else ""
    if figures["processes_left_behind"]:
        said += f"{figures['processes_left_behind']} processes outlived their command. "
    if "equal" not in figures:
        return said + "Not compared with a simulation."
    if figures["equal"]:
        return said + "The final weights, shared and personal, equal the simulation's to the bit."
    names = figures["tensors_that_differ"]
    return said + (
        f"The final weights DIFFER from the simulation's: shared by at most {figures['largest_difference']:.3g} in "
        f"{len(names)} tensors ({', '.join(names[:3])}), personal by {figures['largest_personal_difference']:.3g}."
    )
