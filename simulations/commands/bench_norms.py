"""``fedvoice bench norms``: what layer norms cost a speaker encoder, where its paper has batch norms."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import JsonOption, output, print_json, stages
from simulations.environment import describe_environment, machine_in_words

if TYPE_CHECKING:
    from simulations.benchmarks.norms import NormsBench


def norms(
    encoder: Annotated[str, typer.Option(help="x_vector or ecapa.")] = "x_vector",
    corpus: Annotated[str, typer.Option(help="A folder or CSV, or 'embedded'.")] = "embedded",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each.")] = 300,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, from seeds of their own.")] = 3,
    channels: Annotated[int, typer.Option(min=8, help="Width of the layers, a multiple of 8.")] = 128,
    folder: Annotated[
        Path | None, typer.Option("--output", help="Keep the trainings here, and go on with them later.")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Override one field, as encoder.lr=5e-4; repeatable.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Train a speaker encoder with batch norms and with layer norms, and compare equal error rates on unseen speakers.

    Both see the same batches, seed by seed.

    Examples:

        fedvoice bench norms

        fedvoice bench norms --encoder ecapa --corpus speech/ --steps 1000 --output runs/norms --json
    """
    from shared_models.config import Recipe, parse_override
    from simulations.benchmarks.norms import measure_norms
    from simulations.preparation import prepare
    from simulations.speaker_identification import with_signal

    sizes = {"channels": channels, "aggregated": 3 * channels}
    asked = {
        "name": f"norms-{encoder}", "corpus.path": corpus, "cloning.support": 2, "encoder.kind": encoder,
        "encoder.steps": steps, "encoder.sizes": {} if encoder == "d_vector" else sizes,
    }  # fmt: skip
    recipe = with_signal(Recipe().override(asked | dict(parse_override(change) for change in override or [])))
    with ExitStack() as stack:
        stage = stack.enter_context(stages(quiet=json_output))
        where = folder or Path(stack.enter_context(TemporaryDirectory(prefix="fedvoice-norms-")))
        data = prepare(recipe, progress=stage("features"))
        found = measure_norms(recipe, data, where, range(1, seeds + 1), stage)
    if json_output:
        print_json({**describe_environment(), "encoder": encoder, "corpus": Path(corpus).name, "steps": steps,
                    **found.as_json()})  # fmt: skip
        return
    _show(found, encoder, steps, len(data.test))


def _show(found: NormsBench, encoder: str, steps: int, unseen: int) -> None:
    title = f"{encoder} after {steps} steps: equal error rate on {unseen} unseen speakers"
    table = Table("norms", "mean", "by seed", "training loss", title=title, title_justify="left")
    for norm in found.eer:
        rates = ", ".join(f"{rate:.3f}" for rate in found.eer[norm])
        losses = ", ".join(f"{loss:.2f}" for loss in found.loss[norm])
        table.add_row(norm, f"{found.mean_of(norm):.3f}", rates, losses)
    output().print(table)
    output().print(
        f"layer less batch, over seeds: {found.difference}; {machine_in_words()}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
