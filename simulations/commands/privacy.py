"""``fedvoice privacy plan``: what a privacy target costs, before anybody trains."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared_models.console import JsonOption, a_number, output, print_json, styled
from simulations.extra import require

if TYPE_CHECKING:
    from server.privacy_plan import Plan

app = typer.Typer(help="Plan differential privacy: noise, epsilon, and what is left of the signal.")

TINY_COORDINATES = 3_220_195
"""D of the packaged base."""


@app.callback()
def _group() -> None:
    """Keeps ``plan`` a subcommand of its own, however few there are."""


@app.command()
def plan(
    population: Annotated[int, typer.Option(min=1, help="People who may take part.")],
    cohort: Annotated[
        int, typer.Option(min=1, help="Expected people a round, each chosen by their own coin.")
    ],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of training.")],
    epsilon: Annotated[
        float, typer.Option(callback=a_number, help="The target, for a person, over all rounds.")
    ],
    delta: Annotated[
        float | None,
        typer.Option(
            callback=a_number, help="Below 1 / population; a tenth of it, as a power of ten, by default."
        ),
    ] = None,
    clipping_norm: Annotated[
        float, typer.Option(callback=a_number, help="C, the norm that an update is clipped to.")
    ] = 0.5,
    coordinates: Annotated[
        int, typer.Option(min=1, help="D, how many numbers are shared.")
    ] = TINY_COORDINATES,
    plot: Annotated[
        Path | None, typer.Option(help="Draw epsilon over rounds and signal over cohorts (PNG).")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Find the noise for a target epsilon, and what it leaves of the signal."""
    from server.privacy_plan import larger_cohorts, make_plan
    from shared_models.config import default_delta

    chosen = make_plan(
        population=population,
        cohort=cohort,
        rounds=rounds,
        epsilon=epsilon,
        delta=default_delta(population) if delta is None else delta,
        clipping_norm=clipping_norm,
        coordinates=coordinates,
    )
    larger = larger_cohorts(chosen)
    if plot is not None:
        draw(chosen, larger, plot)
    if json_output:
        rows = [
            {key: getattr(row, key) for key in ("cohort", "noise_multiplier", "signal_to_noise")}
            for row in larger
        ]
        print_json(asdict(chosen) | {"unit": "person", "larger_cohorts": rows, "notes": _notes(chosen)})
    else:
        _show(chosen, larger, plot)


def draw(chosen: Plan, larger: list[Plan], path: Path) -> None:
    """Two panels: epsilon over the rounds, and signal to noise over the cohort."""
    require("a plot", ("matplotlib",))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from server.accounting import epsilon as epsilon_of_rounds

    marks = sorted({max(1, round(chosen.rounds * part / 16)) for part in range(1, 17)})
    spent = [
        epsilon_of_rounds(chosen.noise_multiplier, chosen.sampling_probability, number, chosen.delta)
        for number in marks
    ]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(marks, spent, marker="o", markersize=3)
    left.axhline(chosen.target_epsilon, color="tab:red", linestyle="--", linewidth=1, label="target")
    left.set(xlabel="rounds", ylabel=f"epsilon (person, delta {chosen.delta:g})", ylim=(0, None))
    left.legend()
    right.plot([row.cohort for row in larger], [row.signal_to_noise for row in larger], marker="o")
    right.axhline(1.0, color="tab:gray", linestyle="--", linewidth=1, label="signal = noise")
    right.set(xlabel="cohort", ylabel="signal to noise, best case", xscale="log", yscale="log")
    right.legend()
    figure.suptitle(
        f"{chosen.cohort} of {chosen.population} people a round, noise multiplier "
        f"{chosen.noise_multiplier:g}, {chosen.coordinates:,} coordinates"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _notes(chosen: Plan) -> list[str]:
    from shared_models.config import default_delta

    notes = [
        "signal to noise is the best case: all updates have the full clipping norm and point the same way",
        "epsilon holds for Poisson sampling; a fixed cohort is accounted for without amplification",
    ]
    if chosen.delta >= 1 / chosen.population:
        notes.append(
            f"delta {chosen.delta:g} is not below 1 / population: it would allow to publish one person "
            f"outright, and a federation refuses it; take {default_delta(chosen.population):g}"
        )
    return notes


def _show(chosen: Plan, larger: list[Plan], plot: Path | None) -> None:
    from rich.table import Table

    from shared_models.accounting import composed_by
    from shared_models.shown_epsilon import epsilon_shown

    screen = output()
    figures: dict[str, Any] = {
        "population": f"{chosen.population:,} people",
        "cohort": f"{chosen.cohort:,} expected a round, by Poisson sampling",
        "sampling probability": f"{chosen.sampling_probability:.4g}",
        "rounds": f"{chosen.rounds:,}",
        "noise multiplier": f"{chosen.noise_multiplier:g}",
        "epsilon": f"{epsilon_shown(chosen.epsilon)} at delta {chosen.delta:g}, for a person, over all rounds",
        "composed by": composed_by(chosen.delta),
        "clipping norm": f"{chosen.clipping_norm:g}",
        "noise on the mean": f"{chosen.noise_per_coordinate:.3g} a coordinate",
        "signal to noise": f"{chosen.signal_to_noise:.3g} over {chosen.coordinates:,} coordinates",
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in figures.items():
        table.add_row(styled(name, "bold"), value)
    screen.print(table)
    bought = Table(title="The same epsilon with a larger cohort", title_justify="left")
    for heading in ("cohort", "noise multiplier", "noise a coordinate", "signal to noise"):
        bought.add_column(heading, justify="right")
    for row in larger:
        bought.add_row(
            f"{row.cohort:,}",
            f"{row.noise_multiplier:g}",
            f"{row.noise_per_coordinate:.3g}",
            f"{row.signal_to_noise:.3g}",
        )
    screen.print(bought)
    for note in _notes(chosen):
        screen.print(styled(f"{note}.", "dim" if "publish one person" not in note else "bold red"))
    if plot is not None:
        screen.print(f"plot: {plot}", soft_wrap=True)
