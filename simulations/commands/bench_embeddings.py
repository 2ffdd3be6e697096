"""``fedvoice bench embeddings``: how much of a voice a released speaker embedding keeps, against epsilon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import DeviceOption, JsonOption, output, print_json, stages, whole_numbers
from shared_models.errors import RecipeError
from simulations.environment import describe_environment, machine_in_words

if TYPE_CHECKING:
    from simulations.benchmarks.embedding_privacy import EmbeddingPrivacy
    from simulations.evaluation.bootstrap import Estimate


def embeddings(
    corpus: Annotated[
        str, typer.Option(help="Folder or CSV of people with many recordings, or 'embedded'.")
    ] = "embedded",
    encoder: Annotated[str, typer.Option(help="d_vector, x_vector, ecapa or mel_style.")] = "d_vector",
    weights: Annotated[
        Path | None, typer.Option(help="The encoder's weights; Resemblyzer's for d_vector by default.")
    ] = None,
    utterances: Annotated[
        str, typer.Option(help="Recordings that an embedding is the mean over, separated by commas.")
    ] = "5,20,100",
    epsilons: Annotated[str, typer.Option(help="Epsilons, separated by commas.")] = "0.5,1,2,4,8,16,32",
    others: Annotated[
        int, typer.Option(min=1, help="Other recordings that a person's voice is known by.")
    ] = 3,
    speakers: Annotated[
        int | None, typer.Option(min=2, help="At most so many people, those with most recordings.")
    ] = 20,
    draws: Annotated[int, typer.Option(min=1, help="Releases of each person at each epsilon.")] = 20,
    figure: Annotated[Path | None, typer.Option(help="PNG with the curves.")] = None,
    device: DeviceOption = "cpu",
    json_output: JsonOption = False,
) -> None:
    """Release embeddings of many people at several epsilons, and compare each with the person's other recordings.

    The unit is the utterance, and delta 1e-5. A person with too few recordings for a number of utterances is left out
    of its curve.

    Examples:

        fedvoice bench embeddings --corpus speech/ --figure embeddings.png

        fedvoice bench embeddings --corpus speech/ --encoder ecapa --weights ecapa.safetensors --epsilons 1,4
    """
    from client.embed import open_hearing
    from shared_models.accelerator import Accelerator
    from simulations.benchmarks.embedding_privacy import draw, hear_people, measure

    counts = sorted(set(whole_numbers("--utterances", utterances, 1, "5,20,100")))
    wanted = _numbers(epsilons)
    hearing = open_hearing(encoder, weights, None, Accelerator.resolve(device).device)
    with stages(quiet=json_output) as stage:
        heard, left_out = hear_people(
            corpus, hearing, counts, others=others, speakers=speakers, progress=stage("listening")
        )
        found = measure(heard, hearing.norm, counts, wanted, others=others, draws=draws, left_out=left_out)
    if figure is not None:
        draw(figure, found)
    if json_output:
        print_json(
            {**describe_environment(), "corpus": Path(corpus).name, "encoder": encoder, **found.as_json()}
        )
        return
    _show(found, encoder)


def _numbers(text: str) -> list[float]:
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0.01 <= number < float("inf") for number in found):
        raise RecipeError(f"--epsilons takes numbers from 0.01, as in 1,4,8, and not '{text}'")
    return found


def _show(found: EmbeddingPrivacy, encoder: str) -> None:
    table = Table(title=f"{encoder}: {found.people} people, means with 95 % intervals", title_justify="left")
    for column in ("utterances", "epsilon", "people", "likeness", "identified"):
        table.add_column(column, justify="right")
    before = None
    for point in found.points:
        if before not in (None, point.utterances):
            table.add_section()
        before = point.utterances
        table.add_row(
            str(point.utterances), "none" if point.epsilon is None else f"{point.epsilon:g}",
            str(point.likeness.count), _cell(point.likeness), _cell(point.identified),
        )  # fmt: skip
    output().print(table)
    load = found.load_average
    lines = [
        f"strangers: likeness {_cell(found.strangers)}; identified by chance: {1 / found.people:.2f}",
        f"delta {found.delta:g}, {found.draws} releases of each person; {machine_in_words()}; load average "
        f"{load[0]:.1f} before and {load[1]:.1f} after",
        *(f"left out: {reason}" for reason in found.left_out),
    ]
    for line in lines:
        output().print(line, soft_wrap=True, highlight=False)


def _cell(found: Estimate) -> str:
    return f"{found.mean:.3f}" if found.count < 2 else f"{found.mean:.3f} ({found.low:.3f}–{found.high:.3f})"
