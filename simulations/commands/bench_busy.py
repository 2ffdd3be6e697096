"""``fedvoice bench busy``: training and speaking beside other busy programs."""

from __future__ import annotations

import os
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import JsonOption, current_work, output, print_json, whole_numbers
from simulations.environment import describe_environment, machine_in_words

if TYPE_CHECKING:
    from simulations.benchmarks.busy_machine import Waiting


def busy(
    beside: Annotated[str, typer.Option(help="Numbers of busy programs, separated by commas.")] = "0,1",
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each side, alternately; medians count.")] = 3,
    json_output: JsonOption = False,
) -> None:
    """Time a training step and a spoken sentence beside other busy programs.

    Once with threads that wait for each other as GNU OpenMP has it, once as fedvoice lets them.
    """
    from simulations.benchmarks.busy_machine import as_json, measure

    numbers = whole_numbers("--beside", beside, 0, "0,1")
    load = os.getloadavg()[0]
    with current_work(quiet=json_output) as tell:
        found = measure(numbers, repeats, tell)
    if json_output:
        print_json({**describe_environment(), "load_average_before": load, **as_json(found)})
        return
    output().print(_table(found))
    output().print(f"{machine_in_words()}; load average {load:.1f} before", highlight=False)


def _table(found: list[Waiting]) -> Table:
    from simulations.benchmarks.busy_machine import WORKS

    table = Table(
        "busy programs", "work", "OpenMP's own ms", "ours ms", "own / ours",
        title="How threads wait for each other", title_justify="left",
    )  # fmt: skip
    for waiting in found:
        for name, of in WORKS.items():
            own, ours = (f"{1000 * median(map(of, side)):.0f}" for side in (waiting.own, waiting.ours))
            table.add_row(str(waiting.busy), name, own, ours, f"{waiting.ratio(of):.2f}")
    return table
