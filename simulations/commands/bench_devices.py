"""``fedvoice bench devices``: what an accelerator brings, beside the processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import JsonOption, current_work, output, print_json, whole_numbers
from simulations.environment import describe_environment, machine_in_words

if TYPE_CHECKING:
    from simulations.benchmarks.devices import DeviceWork


def devices(
    names: Annotated[
        list[str] | None, typer.Argument(help="cpu, cuda, cuda:1, mps; all that are there by default.")
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="Sizes of the acoustic model, separated by commas.")
    ] = "tiny,base",
    workers: Annotated[
        str, typer.Option(help="How many of a round's four clients train at once, separated by commas.")
    ] = "1,4",
    json_output: JsonOption = False,
) -> None:
    """Time a step, a private step, a clone, a sentence and a round on each device, in float32 and in bfloat16.

    Weights are random and utterances are noise: only the time counts.

    Examples:

        fedvoice bench devices

        fedvoice bench devices cpu cuda --sizes tiny --workers 1,2,4 --json
    """
    from shared_models.accelerator import devices_here
    from simulations.benchmarks.devices import measure_devices

    chosen = names or [str(device) for device in reversed(devices_here())]
    counts = whole_numbers("--workers", workers, 1, "1,4")
    with current_work(quiet=json_output) as tell:
        found = list(measure_devices(chosen, sizes.split(","), counts, tell))
    if json_output:
        print_json({**describe_environment(), "devices": [work.as_json() for work in found]})
        return
    output().print(_table(found, counts))
    output().print(f"seconds, on {machine_in_words()}; speech in seconds a second", highlight=False)


def _table(found: list[DeviceWork], workers: list[int]) -> Table:
    table = Table("size", "device", "precision")
    rounds = [f"round, {count} at once" for count in workers]
    for column in ("step", "private step", "clone", "speech", *rounds):
        table.add_column(column, justify="right")
    for work in found:
        seconds = [work.step, work.private_step, work.clone, work.speak, *(work.rounds[n] for n in workers)]
        table.add_row(work.size, work.device, work.precision, *(f"{value:.3g}" for value in seconds))
    return table
