"""``fedvoice evaluate``: clone and judge unseen speakers with a finished run's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared_models import console


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    arm: Annotated[
        str | None, typer.Option(help="Arm of the run; federated_dp or federated by default.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Unseen speakers of another folder or CSV, or 'embedded'.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Query utterances a speaker; the recipe's by default.")
    ] = None,
    speakers: Annotated[int | None, typer.Option(min=1, help="At most so many unseen speakers.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where features are kept between runs.")] = None,
    device: console.DeviceOption = "auto",
    as_json: console.JsonOption = False,
) -> None:
    """Clone and judge the unseen speakers of a corpus, the run's own by default, with an arm's weights.

    Speech is judged as a person hears it, but before the mark. Sound files of clones are marked.

    Examples:

        fedvoice evaluate runs/real --arm federated --queries 20

        fedvoice evaluate runs/real --corpus my-corpus/ --speakers 4 --json
    """
    from simulations.evaluation.finished_run import choose_arm, evaluate_arm
    from simulations.reports.report import results_table
    from simulations.run_folder import RunFolder

    folder = RunFolder.open(run)
    chosen = choose_arm(folder, arm)
    with console.stages(quiet=as_json) as stage:
        results = evaluate_arm(
            folder, chosen, corpus=corpus, queries=queries, speakers=speakers, device=device, cache=cache, stage=stage
        )  # fmt: skip
    if as_json:
        console.print_json(results)
        return
    console.output().print(results_table(results))
    console.output().print(
        f"figures and audio: {results['folder']} (computed on {results['computed_on']})",
        soft_wrap=True,
        highlight=False,
    )
