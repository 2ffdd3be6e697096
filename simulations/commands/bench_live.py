"""``fedvoice bench compression`` and ``live``: bytes a device a round and what they cost; a server under load."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import (
    JsonOption,
    ProgressCallback,
    a_number,
    notices,
    output,
    print_json,
    steps_progress,
    whole_numbers,
)
from simulations.environment import describe_environment, machine_in_words

if TYPE_CHECKING:
    from simulations.benchmarks.compression import CompressionBench, Cost
    from simulations.benchmarks.live_load import Load
    from simulations.evaluation.bootstrap import Estimate


def compression(
    recipe: Annotated[str, typer.Option(help="Recipe whose arms are compared.")] = "compression",
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field, as federation.rounds=3; repeatable."),
    ] = None,
    arms: Annotated[str | None, typer.Option(help="Of its arms these alone, separated by commas.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where runs are kept, to go on after an interruption.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run one short federation for each way to compress, and judge clones of unseen speakers with its weights.

    The first arm is what the others are compared with. Every arm starts from the packaged base.
    """
    from shared_models.recipes import find_recipe
    from simulations.benchmarks.compression import as_json, measure_compression

    chosen = find_recipe(recipe, override or [])
    if arms is not None:
        names = [name.strip() for name in arms.split(",")]
        for name in names:
            chosen.arm(name)  # says which there are, if there is none of that name
        chosen = chosen.model_copy(update={"arms": {name: chosen.arms[name] for name in names}})
    with contextlib.ExitStack() as stack:
        place = folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="fedvoice-compression-"))
        )
        with _stages(json_output) as stage:
            found = measure_compression(chosen, place, stage=stage)
    if json_output:
        print_json({**describe_environment(), **as_json(found)})
        return
    output().print(_table(found))
    output().print(
        f"{machine_in_words()}; kB are 1000 bytes of arrays; "
        "a message down has besides some 4 kB of header, mostly the recipe",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


@contextlib.contextmanager
def _stages(quiet: bool) -> Iterator[Callable[[str], ProgressCallback]]:
    """One bar after another, each for a loop of its own."""
    with contextlib.ExitStack() as bars:

        def stage(title: str) -> ProgressCallback:
            bars.close()
            return bars.enter_context(steps_progress(title, quiet=quiet))

        yield stage


def _table(found: CompressionBench) -> Table:
    federation = found.recipe.federation
    size = f"{found.coordinates / 1e6:.3g} M shared weights"
    title = f"{size}, {federation.rounds} rounds of {federation.cohort} devices"
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in (
        "down kB",
        "up kB",
        "down ×",
        "up ×",
        "both ×",
        "similarity",
        "difference %",
        "MCD dB",
        "difference %",
    ):
        table.add_column(column, justify="right")
    plain = found.costs[0]
    for cost in found.costs:
        table.add_row(
            cost.name, *_traffic(cost, plain), *_quality(cost, cost is plain), f"{cost.validation_loss:.4f}"
        )
    return table


def _traffic(cost: Cost, plain: Cost) -> list[str]:
    if not cost.up:
        return [""] * 5
    ratios = (plain.down / cost.down, plain.up / cost.up, (plain.down + plain.up) / (cost.down + cost.up))
    return [f"{cost.down / 1000:.0f}", f"{cost.up / 1000:.0f}", *(f"{ratio:.1f}" for ratio in ratios)]


def _quality(cost: Cost, reference: bool) -> list[str]:
    cells = []
    for metric, digits in (("similarity_after", 3), ("mcd_after", 2)):
        cells += [
            f"{cost.figures[metric]:.{digits}f}",
            "" if reference else _signed(cost.differences[metric]),
        ]
    return cells


def _signed(difference: Estimate) -> str:
    return f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def _in_a_line(load: Load) -> str:
    took = ", ".join(f"{seconds:.1f} s" for seconds in load.round_seconds)
    superlink, federation = load.round_memory_superlink / 1e6, load.round_memory_federation / 1e6
    return (
        f"{load.devices} devices: idle {load.idle_requests_a_second:.0f} requests/s, "
        f"median {load.idle_median_ms:.0f} ms; rounds {took}, {load.round_requests_a_second:.0f} requests/s, "
        f"SuperLink {superlink:.0f} MB, federation {federation:.0f} MB"
    )


def live(
    devices: Annotated[str, typer.Option(help="Numbers of devices, separated by commas.")] = "50,100,200",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, with all of the devices.")] = 2,
    seconds: Annotated[
        float, typer.Option(callback=a_number, min=1, help="How long they poll before.")
    ] = 20.0,
    poll: Annotated[
        float, typer.Option(callback=a_number, min=0.05, help="Seconds between a device's polls.")
    ] = 3.0,
    recipe: Annotated[str, typer.Option(help="Recipe whose model travels.")] = "default",
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field, as model.hidden=16; repeatable."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Put a server under the load of many devices that poll and answer without training."""
    from simulations.benchmarks.live_load import as_json, measure_load

    numbers = whole_numbers("--devices", devices, 1, "50,100,200")
    options = ["--recipe", recipe, *(word for change in override or [] for word in ("--set", change))]
    found: list[Load] = []

    def tell(text: str) -> None:
        if not json_output:
            notices().print(text, highlight=False)

    for count in numbers:
        with tempfile.TemporaryDirectory(prefix="fedvoice-load-") as folder:
            found.append(measure_load(Path(folder), count, rounds, seconds, poll, options, tell))
        # Said at once: a number of devices that is too much for the machine costs the figures of no other.
        tell(_in_a_line(found[-1]))
    if json_output:
        print_json({**describe_environment(), "loads": as_json(found)})
        return
    table = Table(
        "devices", "idle: requests/s", "median ms", "p95 ms", "MB", "round s", "requests/s", "SuperLink MB",
        "federation MB",
    )  # fmt: skip
    for load in found:
        table.add_row(
            str(load.devices), f"{load.idle_requests_a_second:.0f}", f"{load.idle_median_ms:.0f}",
            f"{load.idle_p95_ms:.0f}", f"{load.idle_memory / 1e6:.0f}",
            ", ".join(f"{s:.1f}" for s in load.round_seconds), f"{load.round_requests_a_second:.0f}",
            f"{load.round_memory_superlink / 1e6:.0f}", f"{load.round_memory_federation / 1e6:.0f}",
        )  # fmt: skip
    output().print(table)
    output().print(
        f"{machine_in_words()}; devices and server share them",
        highlight=False,
    )
