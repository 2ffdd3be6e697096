"""``fedvoice bench``: what the parts cost on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from shared_models.console import JsonOption, current_work, output, print_json, whole_numbers
from shared_models.errors import FedVoiceError
from simulations.commands import (
    bench_busy,
    bench_cloning,
    bench_devices,
    bench_embeddings,
    bench_leakage,
    bench_live,
    bench_normaliser,
    bench_norms,
    bench_speech,
    bench_watermark,
)
from simulations.environment import GIBIBYTE, describe_environment, machine_in_words

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
    recipe: Annotated[
        str | None, typer.Option(help="Train by this recipe, instead of a model that does not train.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run the same federation on our engine and on Flower's, and compare cost and weights.

    By default clients do not train, which leaves the engine's own cost. With --recipe they do.
    The memory is the peak of all processes together, pages that they share counted once.
    """
    from simulations.benchmarks.engine import as_json, compare

    chosen: list[EngineKind] = ["process", "ray"] if engines == "both" else [engines]
    comparisons = []
    numbers = whole_numbers("--clients", clients, 1, "10,50,200")
    if recipe is not None:
        _prepare(recipe, rounds)
    with current_work(quiet=json_output) as tell:
        for number in numbers:
            size = None if recipe else parameters
            comparisons.append(compare(chosen, number, rounds, parameters=size, recipe=recipe, progress=tell))
    if json_output:
        print_json({**describe_environment(), "comparisons": [as_json(found) for found in comparisons]})
    else:
        output().print(_table(comparisons, recipe))
    for found in comparisons:
        if not found.equal:
            raise FedVoiceError(
                f"the engines' weights differ by {found.largest_difference:.3g} with {found.clients} "
                "clients: please report this as a bug"
            )


def _prepare(recipe: str, rounds: int) -> None:
    """Compute what the runs will find in the cache, so that the first is not charged for it."""
    from simulations.benchmarks.training_federation import training_recipe
    from simulations.preparation import prepare

    prepare(training_recipe(recipe, rounds))


def _table(comparisons: list[Comparison], recipe: str | None) -> Table:
    size = comparisons[0].measurements[0].parameters / 1e6
    clients = f"clients train by the recipe '{recipe}'" if recipe else "clients do not train"
    table = Table(title=f"{size:.3g} M parameters, {clients}")
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


@app.command()
def efficiency(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that are timed, after one that is not.")] = 4,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of every side, alternately; medians count.")] = 3,
    recipe: Annotated[str, typer.Option(help="Recipe whose training steps are timed.")] = "default",
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Override one field, as corpus.speakers=8; repeatable.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Time a federated run over the same training steps in a bare PyTorch loop in one process."""
    from shared_models.recipes import find_recipe
    from simulations.benchmarks.efficiency import as_json, measure

    with current_work(quiet=json_output) as tell:
        found = measure(find_recipe(recipe, override or []), rounds, repeats, tell)
    figures = as_json(found)
    if json_output:
        print_json({**describe_environment(), "recipe": recipe, **figures})
        return
    output().print(_efficiency_table(figures))
    output().print(
        f"federated / bare: {found.ratio:.3f} (target {figures['target']:.2f}); over a one-thread loop spread over "
        f"{found.workers} workers without loss: {found.ratio_to_ideal:.3f}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    output().print(
        f"{machine_in_words()}; load average "
        f"{found.load_average[0]:.1f} before and {found.load_average[1]:.1f} after; the weights of both sides "
        f"differ by at most {found.largest_difference:.1e}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def _efficiency_table(figures: dict[str, Any]) -> Table:
    from statistics import median

    title = f"{figures['steps']} training steps: {figures['rounds']} rounds of {figures['cohort']} clients"
    table = Table("", "seconds", "each", "steps a second", title=title, title_justify="left")
    sides = {"federated": figures["federated_seconds"]}
    sides |= {f"bare loop, {n} thread(s)": seconds for n, seconds in figures["bare_seconds"].items()}
    for name, seconds in sides.items():
        each = ", ".join(f"{value:.2f}" for value in seconds)
        table.add_row(name, f"{median(seconds):.2f}", each, f"{figures['steps'] / median(seconds):.2f}")
    startup = figures["federated_startup_seconds"]
    table.add_row(
        "start-up, not counted", f"{median(startup):.2f}", ", ".join(f"{s:.2f}" for s in startup), ""
    )
    return table


app.command()(bench_normaliser.normaliser)
app.command()(bench_speech.vocoders)
app.command()(bench_speech.speaking)
app.command()(bench_watermark.watermark)
app.command()(bench_cloning.cloning)
app.command()(bench_leakage.leakage)
app.command()(bench_norms.norms)
app.command()(bench_devices.devices)
app.command()(bench_embeddings.embeddings)
app.command()(bench_live.compression)
app.command()(bench_live.live)
app.command()(bench_busy.busy)
