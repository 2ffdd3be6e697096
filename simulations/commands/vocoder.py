"""``fedvoice vocoder``: train a neural vocoder, listen to one, or import a public one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulations.commands import console

app = typer.Typer(
    no_args_is_help=True, help="Train a neural vocoder, listen to one, or import a public one."
)


@app.command(
    epilog="Example: fedvoice vocoder train --recipe vocos_small --corpus recordings/ --output runs/vocoder"
)
def train(
    recipe: Annotated[str, typer.Option(help="A shipped vocoder recipe, or a .toml file.")] = "vocos_small",
    corpus: Annotated[str | None, typer.Option(help="'embedded', a folder, or a CSV.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Override one field, as vocoder.steps=3000; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Run folder; runs/RECIPE-TIME by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with an interrupted training.")] = None,
    json: console.JsonOption = False,
) -> None:
    """Train a vocoder on a corpus's train speakers. All of them are heard equally often."""
    from shared_models.errors import RecipeError
    from simulations.recipes.vocoders import find_vocoder_recipe
    from simulations.run_folder import RunFolder, default_run_path
    from simulations.vocoder_training import train_vocoder
    from simulations.vocoder_waves import prepare_waves

    changes = list(override or [])
    if corpus is not None:
        changes.append(f"corpus.path={str(Path(corpus).resolve()) if corpus != 'embedded' else corpus}")
    if resume is not None:
        if changes or recipe != "vocos_small":
            raise RecipeError("--resume goes on with the run's own recipe: leave --recipe, --corpus and --set")
        run = RunFolder.open(resume)
        chosen = run.recipe()
    else:
        chosen = find_vocoder_recipe(recipe, changes)
        run = RunFolder.create(output or default_run_path(chosen.name), chosen)
    with console.resumable(f"fedvoice vocoder train --resume {run.path}"):
        with console.steps_progress("reading", quiet=json) as progress:
            waves = prepare_waves(chosen, run.path / "waves", progress)
        with console.steps_progress("training", quiet=json) as progress:
            path = train_vocoder(run, chosen, waves, progress)
    console.output().print(f"vocoder: {path}", soft_wrap=True, highlight=False)
