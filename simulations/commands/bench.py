"""``fedvoice bench``: what the parts cost on this machine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from shared_models.errors import FedVoiceError, RecipeError
from simulations.commands.console import JsonOption, notices, output, print_json
from simulations.environment import GIBIBYTE, describe_environment

if TYPE_CHECKING:
    from simulations.benchmarks.engine import Comparison, EngineKind

app = typer.Typer(name="bench", help="Measure what the parts cost on this machine.", no_args_is_help=True)


@app.callback()
def _options() -> None:
    """Measure what the parts cost on this machine."""


@app.command()
def engine(
    clients: Annotated[str, typer.Option(help="Numbers of clients, separated by commas.")] = "10,50,200",
    parameters: Annotated[int, typer.Option(min=1, help="Size of the model that clients send.")] = 10_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the first is shown apart.")] = 3,
    engines: Annotated[
        Literal["both", "process", "ray"], typer.Option("--engine", help="Ours, Flower's, or both.")
    ] = "both",
    json_output: JsonOption = False,
) -> None:
    """Run a federation that does not train on our engine and on Flower's, and compare cost and weights.

    The memory is the peak of all processes together, pages that they share counted once.
    """
    from simulations.benchmarks.engine import as_json, compare

    chosen: list[EngineKind] = ["process", "ray"] if engines == "both" else [engines]
    comparisons = []
    with _status(quiet=json_output) as tell:
        for number in _numbers(clients):
            comparisons.append(compare(chosen, number, parameters, rounds, tell))
    if json_output:
        print_json({**describe_environment(), "comparisons": [as_json(found) for found in comparisons]})
    else:
        output().print(_table(comparisons, parameters))
    for found in comparisons:
        if not found.equal:
            raise FedVoiceError(
                f"the engines' weights differ by {found.largest_difference:.3g} with {found.clients} "
                "clients: please report this as a bug"
            )


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise RecipeError(f"--clients takes whole numbers from 1, as in 10,50,200, and not '{text}'")
    return numbers


@contextlib.contextmanager
def _status(*, quiet: bool):  # type: ignore[no-untyped-def]
    if quiet:
        yield None
        return
    with notices().status("starting") as status:
        yield status.update


def _table(comparisons: list[Comparison], parameters: int) -> Table:
    table = Table(title=f"{parameters / 1e6:g} M parameters, clients that do not train")
    for column in (
        "clients",
        "engine",
        "first round s",
        "later s",
        "peak GiB",
        "speed-up",
        "largest difference",
    ):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for found in comparisons:
        for measured in found.measurements:
            ours = measured.engine == "process"
            table.add_row(
                str(found.clients),
                measured.engine,
                f"{measured.first_round_seconds:.2f}",
                f"{measured.seconds:.2f}",
                f"{measured.peak_memory_bytes / GIBIBYTE:.2f}",
                f"{found.speedup:.1f}" if ours and found.speedup is not None else "",
                f"{found.largest_difference:.1e}" if ours and found.largest_difference is not None else "",
            )
    return table
