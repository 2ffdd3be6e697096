"""``fedvoice attack leave-one-out``: what one utterance moves in a private training step, before the noise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared_models import console
from shared_models.shown_epsilon import epsilon_shown

if TYPE_CHECKING:
    from simulations.attacks.leave_one_out import LeaveOneOut


def leave_one_out(
    corpus: Annotated[
        str, typer.Option(help="Folder or CSV with unseen speakers, or 'embedded'.")
    ] = "embedded",
    base: Annotated[Path | None, typer.Option(help="Base model; the packaged one by default.")] = None,
    speakers: Annotated[int, typer.Option(min=1, help="So many unseen speakers.")] = 3,
    utterances: Annotated[int, typer.Option(min=2, help="So many utterances each.")] = 6,
    epsilon: Annotated[
        float, typer.Option(callback=console.a_number, min=0.01, help="What a step is planned to cost.")
    ] = 8.0,
    delta: Annotated[
        float, typer.Option(callback=console.a_number, min=1e-12, max=0.999, help="At this delta.")
    ] = 1e-3,
    clipping_norm: Annotated[
        float,
        typer.Option(
            callback=console.a_number,
            min=1e-6,
            help="The norm that gradients are clipped to; the less, the more are.",
        ),
    ] = 1.0,
    as_json: console.JsonOption = False,
) -> None:
    """Leave utterances out of a private training step and measure how far the sum under the noise moves.

    The noise hides a movement of the clipping norm, 1 in the table. What moves it further costs more than it says.

    Examples:

        fedvoice attack leave-one-out

        fedvoice attack leave-one-out --corpus my-corpus/ --utterances 16 --json
    """
    from shared_models.base_model import load_base, packaged_base
    from simulations.attacks.leave_one_out import leave_one_out as measure
    from simulations.attacks.leave_one_out import speakers_of

    loaded = packaged_base() if base is None else load_base(base)
    with console.steps_progress("listening", quiet=as_json) as heard:
        found = speakers_of(corpus, loaded.recipe, speakers=speakers, utterances=utterances, progress=heard)
    with console.steps_progress("leaving out", quiet=as_json) as measured:
        outcome = measure(
            loaded.model,
            loaded.recipe,
            found,
            epsilon=epsilon,
            delta=delta,
            clipping_norm=clipping_norm,
            progress=measured,
        )
    if as_json:
        console.print_json(_figures(outcome, corpus))
    else:
        _show(outcome)


def _ways(outcome: LeaveOneOut) -> list[str]:
    return list(dict.fromkeys(pair.way for pair in outcome.pairs))


def _figures(outcome: LeaveOneOut, corpus: str) -> dict[str, Any]:
    return {
        "attack": "leave-one-out",
        "corpus": Path(corpus).name,
        "epsilon": outcome.epsilon,
        "delta": outcome.delta,
        "noise_multiplier": outcome.noise_multiplier,
        "cases": [
            {"case": way, "worst": outcome.worst(way), "epsilon": outcome.true_epsilon(way)}
            for way in _ways(outcome)
        ],
        "pairs": [asdict(pair) for pair in outcome.pairs],
    }


def _show(outcome: LeaveOneOut) -> None:
    from rich.table import Table

    table = Table(
        title="Leaving one utterance out: movement of the sum, over the clipping norm", title_justify="left"
    )
    for place, column in enumerate(("", "pairs", "above 1", "least", "most", "true ε of a step")):
        table.add_column(column, justify="right" if place else "left")
    for way in _ways(outcome):
        moved = [pair.moved for pair in outcome.pairs if pair.way == way]
        above = sum(value > 1 + 1e-5 for value in moved)
        table.add_row(
            way, str(len(moved)), str(above), f"{min(moved):.4f}", f"{max(moved):.4f}",
            epsilon_shown(outcome.true_epsilon(way)),
        )  # fmt: skip
    console.output().print(table)
    console.output().print(
        f"planned: epsilon {outcome.epsilon:g} a step at delta {outcome.delta:g}, noise multiplier "
        f"{outcome.noise_multiplier:g}", soft_wrap=True, highlight=False,
    )  # fmt: skip
