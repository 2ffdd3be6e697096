"""``fedvoice simulate``: a federation of many speakers on this machine, start to report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shared_models import console
from simulations.commands.simulation_bars import SimulationBars


def simulate(
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a .toml file.")] = "default",
    corpus: Annotated[
        str | None, typer.Option(help="A folder or CSV instead of the recipe's corpus.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field, as federation.rounds=3; repeatable."),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="process, or ray (Flower's own).")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster's address, with --engine ray.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Run folder; runs/RECIPE-TIME by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with an interrupted run.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="List every field of a recipe, and stop.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Train one TTS model across many simulated devices, clone unseen speakers with it, and write a report.

    Examples:

        fedvoice simulate

        fedvoice simulate --recipe real --corpus speech/

        fedvoice simulate --set federation.rounds=3 --set corpus.speakers=8

        fedvoice simulate --resume runs/default-20261121-140000
    """
    from shared_models.errors import RecipeError
    from shared_models.recipes import find_recipe
    from simulations.corpora import open_corpus
    from simulations.extra import require
    from simulations.run_folder import RunFolder, default_run_path

    if explain:
        _explain(as_json)
        return
    # Before there is a run folder: what is not installed would end the run after its first minutes.
    require("a simulation")
    changes = list(override or [])
    if corpus is not None:
        if corpus != "embedded":
            # Whose ids match is said of the recipe's own corpus.
            changes.insert(0, "corpus.only=*")
        changes.append(f"corpus.path={str(Path(corpus).resolve()) if corpus != 'embedded' else corpus}")
    if engine is not None:
        changes.append(f"engine.kind={engine}")
    if resume is not None:
        if changes or recipe != "default":
            raise RecipeError(
                "--resume goes on with the run's own recipe: leave --recipe, --corpus, --set and --engine"
            )
        run = RunFolder.open(resume)
        chosen = run.recipe()
    else:
        chosen = find_recipe(recipe, changes)
        # Before there is a run folder: a corpus that is not there is no run to resume.
        open_corpus(chosen.corpus)
        run = RunFolder.create(output or default_run_path(chosen.name), chosen)
    _run(run, chosen, ray_address, as_json)


def _run(run: Any, recipe: Any, ray_address: str | None, as_json: bool) -> None:
    from simulations.reports.report import results_table
    from simulations.simulate import simulate as run_simulation

    with console.resumable(f"fedvoice simulate --resume {run.path}"), SimulationBars(as_json) as bars:
        results = run_simulation(run, recipe, bars, ray_address=ray_address)
    if as_json:
        console.print_json(results | {"run": str(run.path), "report": str(run.report_path)})
        return
    console.output().print(results_table(results))
    for name, arm in results["arms"].items():
        if arm["epsilon"]:
            console.output().print(f"{name}: {_privacy_sentence(arm['epsilon'])}", highlight=False)
    for line in _what_was_trained(results):
        console.output().print(line, soft_wrap=True, highlight=False)
    console.output().print(f"report: {run.report_path}", soft_wrap=True, highlight=False)


def _what_was_trained(results: dict[str, Any]) -> Iterator[str]:
    """Of each arm's shared weights, by which two runs are compared, and where they were computed."""
    hashes = {name: arm["weights"] for name, arm in results["arms"].items() if "weights" in arm}
    if hashes:
        yield "final weights: " + ", ".join(f"{name} {digest[:16]}" for name, digest in hashes.items())
    yield "computed on " + ", ".join(sorted({arm["computed_on"] for arm in results["arms"].values()}))


def _privacy_sentence(privacy: dict[str, Any]) -> str:
    """The guarantee, and whose it is: the assumed cohort's, which is not always the simulated one."""
    sentence = str(privacy["statement"])
    if privacy["assumed_cohort"] == privacy["simulated_cohort"]:
        return sentence
    return (
        f"{sentence} Simulated with {privacy['simulated_cohort']:g} of {privacy['simulated_population']:g} people a "
        "round, who are not protected by it: the noise is scaled to what the larger cohort would see."
    )


def _explain(as_json: bool) -> None:
    rows = list(_fields())
    if as_json:
        console.print_json([{"field": f, "default": d, "meaning": m} for f, d, m in rows])
        return
    table = Table("field", "default", "meaning", title="Fields of a recipe")
    for row in rows:
        table.add_row(*row)
    console.output().print(table)


def _fields() -> Iterator[tuple[str, str, str]]:
    from pydantic import BaseModel

    from shared_models.config import Recipe

    for name, field in Recipe.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if not isinstance(default, BaseModel):
            yield name, repr(default), field.description or ""
            continue
        for inner, described in type(default).model_fields.items():
            yield f"{name}.{inner}", repr(getattr(default, inner)), described.description or ""
