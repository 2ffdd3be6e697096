"""``fedvoice attack``: what an adversary gets of a person, with the protections and without."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared_models.console import JsonOption, a_number, output, print_json
from shared_models.shown_epsilon import epsilon_shown
from simulations.commands.attack_leave_one_out import leave_one_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulations.attacks.trap_weights import TrapWeights

app = typer.Typer(
    name="attack", help="Try on the real code what an adversary could get of a person.", no_args_is_help=True
)


@app.callback()
def _options() -> None:
    """Try on the real code what an adversary could get of a person."""


app.command("leave-one-out")(leave_one_out)


@app.command("free-releases")
def free_releases(
    variations: Annotated[
        int, typer.Option(min=1, help="Questions in another form after the paid ones.")
    ] = 20,
    json_output: JsonOption = False,
) -> None:
    """A server asks rounds that were paid for again, with other seeds, norms, rates and steps.

    Examples:

        fedvoice attack free-releases

        fedvoice attack free-releases --variations 40 --json
    """
    from simulations.attacks.free_releases import free_releases as run

    found = run(variations)
    if json_output:
        print_json({"attack": "free-releases", "cases": [asdict(row) for row in found]})
        return
    columns = (
        "",
        "paid answers",
        "asked again",
        "answered",
        "ε of the ledger",
        "ε if paid by round alone",
        "ε of all",
    )
    rows = [
        (
            row.protection, str(row.paid), str(row.asked), str(row.answered), epsilon_shown(row.epsilon),
            epsilon_shown(row.epsilon_by_old_keys), epsilon_shown(row.epsilon_of_answers),
        )
        for row in found
    ]  # fmt: skip
    _show("Free releases (ε of a person; what is paid must not be below what was sent)", columns, rows)
    _say(
        f"{row.protection}: {count} declined: {reason}"
        for row in found
        for reason, count in row.reasons.items()
    )


@app.command()
def amplification(
    asked: Annotated[int, typer.Option(min=2, help="Rounds in a row in which the device is asked.")] = 30,
    json_output: JsonOption = False,
) -> None:
    """A server claims a billion people, and asks the same one in every round.

    Examples:

        fedvoice attack amplification

        fedvoice attack amplification --asked 10 --json
    """
    from simulations.attacks.amplification import amplification as run
    from simulations.attacks.amplification import most_that_a_jumper_gets

    found, most = run(asked), most_that_a_jumper_gets()
    if json_output:
        print_json(
            {
                "attack": "amplification",
                "most_answers_unnoticed": most,
                "cases": [asdict(row) for row in found],
            }
        )
        return
    columns = ("", "asked", "answered", "ε by the claimed coin", "ε without sampling")
    rows = [
        (
            row.case,
            str(row.asked),
            str(row.answered),
            epsilon_shown(row.epsilon),
            epsilon_shown(row.epsilon_without_sampling),
        )
        for row in found
    ]
    _show("Amplification on a server's word (ε of a person)", columns, rows)
    _say(f"{row.case}: {row.told}" for row in found if row.told)
    _say([f"a run that claims a million rounds of a billion people gets at most {most} answers unnoticed"])


@app.command("trap-weights")
def trap_weights(
    corpus: Annotated[
        str, typer.Option(help="Folder or CSV whose speakers are attacked, or 'embedded'.")
    ] = "embedded",
    speakers: Annotated[
        int, typer.Option(min=1, help="So many; as many others stand for public speech.")
    ] = 10,
    sharpness: Annotated[
        float,
        typer.Option(
            callback=a_number, min=0.0, help="Norm of a trap neuron's weights; training makes them 0.6."
        ),
    ] = 400.0,
    json_output: JsonOption = False,
) -> None:
    """A server writes weights that put single frames of a recording into one clipped update.

    Examples:

        fedvoice attack trap-weights

        fedvoice attack trap-weights --corpus my-corpus/ --speakers 10 --json
    """
    from simulations.attacks.trap_weights import lines
    from simulations.attacks.trap_weights import trap_weights as run

    found = run(corpus, speakers, sharpness=sharpness)
    if json_output:
        print_json(
            {"attack": "trap-weights", "corpus": Path(corpus).name, "cases": [asdict(row) for row in found]}
        )
        return
    _show_traps(found)
    _say(lines(found))


def _show_traps(found: Sequence[TrapWeights]) -> None:
    columns = ("", "frames", "read", "read under noise", "median error", "error of a guess")
    rows = [
        (
            row.case, str(row.frames), str(row.read), str(row.read_under_noise), f"{row.median_error:.3f}",
            f"{row.guess:.3f}",
        )
        for row in found
    ]  # fmt: skip
    _show("Trap weights: mel frames read out of one clipped update, to within 2 %", columns, rows)


def _show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table

    table: Any = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    output().print(table)


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        output().print(sentence, markup=False, highlight=False, soft_wrap=True)
