"""``fedvoice vocoder``: train a neural vocoder, listen to one, or import a public one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shared_models import console
from shared_models.shown_text import shown

app = typer.Typer(no_args_is_help=True, help="Train a neural vocoder, listen to one, or import a public one.")

DEFAULT_RECIPE = "vocos_small"
FEDERATED_RECIPE = "vocos_federated"
RecipeOption = Annotated[str, typer.Option(help="A shipped vocoder recipe's name, or a .toml file.")]
CorpusOption = Annotated[str | None, typer.Option(help="A folder or CSV instead of the recipe's corpus.")]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one field, as vocoder.steps=3000; repeatable."),
]
OutputOption = Annotated[Path | None, typer.Option(help="Run folder; runs/RECIPE-TIME by default.")]
ResumeOption = Annotated[Path | None, typer.Option(help="Go on with an interrupted run.")]
StartOption = Annotated[
    str | None,
    typer.Option(help="A vocoder file to begin with, of the recipe's kind and sizes, or 'packaged'."),
]


@app.command()
def train(
    recipe: RecipeOption = DEFAULT_RECIPE,
    corpus: CorpusOption = None,
    start: StartOption = None,
    override: OverrideOption = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            callback=console.a_number,
            min=0,
            help="Stop after so long, with a vocoder file of what there is; --resume goes on.",
        ),
    ] = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Train a vocoder on a corpus's train speakers, each heard equally often.

    The run folder ends with vocoder.safetensors. metrics.jsonl has the losses, and the distance of copied from
    real mels for speakers whom training never hears.

    Examples:

        fedvoice vocoder train --corpus recordings/

        fedvoice vocoder train --recipe hifigan_v2 --corpus recordings/ --set vocoder.steps=50000

        fedvoice vocoder train --recipe hifigan_v1 --corpus recordings/ --minutes 10

        fedvoice vocoder train --recipe magnitude --start packaged --corpus recordings/

        fedvoice vocoder train --resume runs/vocos_small-20261121-140000
    """
    from simulations.run_folder import RunFolder
    from simulations.vocoder_training import train_vocoder
    from simulations.vocoder_waves import prepare_waves

    run = RunFolder.open(resume) if resume is not None else None
    if run is not None:
        _refuse_changes(recipe, corpus, start, override)
        chosen = run.recipe()
    else:
        run, chosen = _start(recipe, corpus, override or [], output, start)
    lines: list[dict[str, Any]] = []
    with console.resumable(f"fedvoice vocoder train --resume {run.path}"):
        with console.steps_progress("reading", quiet=as_json) as progress:
            waves = prepare_waves(chosen, run.path / "waves", progress)
        if waves.left_out and not as_json:
            first = f"{waves.left_out[0][0]}: {waves.left_out[0][1]}"
            lost = f"left out {len(waves.left_out)} recordings ({first})"
            console.notices().print(lost, soft_wrap=True, highlight=False)
        with console.rounds_progress(chosen.name, chosen.vocoder.steps, quiet=as_json) as bars:
            path = train_vocoder(run, chosen, waves, _shown_on(bars, lines), lines.append, start, minutes)
    # A run that was finished before has no new line.
    steps = lines[-1]["step"] if lines else chosen.vocoder.steps
    if as_json:
        console.print_json({"vocoder": str(path), "run": str(run.path), "steps": steps, "last": lines[-1:]})
        return
    done = f"vocoder: {path}, after {steps:,} of {chosen.vocoder.steps:,} steps"
    console.output().print(done, soft_wrap=True, highlight=False)


@app.command()
def federate(
    recipe: RecipeOption = FEDERATED_RECIPE,
    corpus: CorpusOption = None,
    start: StartOption = None,
    override: OverrideOption = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Train a vocoder across simulated devices: the generator travels, discriminators and recordings do not.

    Examples:

        fedvoice vocoder federate --corpus speech/

        fedvoice vocoder federate --start runs/vocos_small/vocoder.safetensors --set federation.rounds=10

        fedvoice vocoder federate --resume runs/vocos_federated-20261121-140000
    """
    from simulations.run_folder import RunFolder
    from simulations.vocoder_federation import federate_vocoder

    run = RunFolder.open(resume) if resume is not None else None
    if run is not None:
        _refuse_changes(recipe, corpus, start, override, default=FEDERATED_RECIPE)
        chosen = run.recipe()
    else:
        run, chosen = _start(recipe, corpus, [*(override or []), "trains=vocoder"], output, start)
    with (
        console.resumable(f"fedvoice vocoder federate --resume {run.path}"),
        console.rounds_progress(chosen.name, chosen.federation.rounds, quiet=as_json) as bars,
    ):
        done = federate_vocoder(run, chosen, bars.round, start)
    if as_json:
        console.print_json({"run": str(run.path), **done})
        return
    out = console.output()
    statement = done["privacy"]["statement"] if done["privacy"] else "without differential privacy"
    out.print(f"{done['clients']} devices, {done['coordinates']:,} coordinates, {statement}", soft_wrap=True)
    out.print(f"vocoder: {done['vocoder']}", soft_wrap=True, highlight=False)


@app.command()
def synthesize(
    recordings: Annotated[list[Path], typer.Argument(help="Audio files, or folders of them.")],
    vocoder: Annotated[
        str, typer.Option(help="A vocoder file, 'packaged', or 'griffin_lim'.")
    ] = "griffin_lim",
    output: Annotated[Path, typer.Option(help="Folder for the WAV files.")] = Path("copies"),
    as_json: console.JsonOption = False,
) -> None:
    """Copy recordings through a vocoder: to a mel and back. What the copy loses, the vocoder loses.

    Recordings are brought to the level that the models are trained at. Files that cannot be used are named
    and left out.

    Examples:

        fedvoice vocoder synthesize me.wav --vocoder runs/vocoder/vocoder.safetensors

        fedvoice vocoder synthesize recordings/ --vocoder griffin_lim --output copies --json
    """
    from shared_models.vocoders import build_vocoder
    from simulations.vocoder_copies import copy_all

    chosen = build_vocoder(vocoder)
    with console.steps_progress("copying", quiet=as_json) as progress:
        copies, left_out = copy_all(recordings, chosen, output, progress)
    if as_json:
        rows = [copy.figures() for copy in copies]
        problems = [{"path": str(path), "reason": reason} for path, reason in left_out]
        console.print_json({"vocoder": vocoder, "copies": rows, "left_out": problems})
        return
    table = Table(title=shown(vocoder))
    table.add_column("copy", overflow="fold")
    for heading in ("seconds", "mel distance", "real-time factor"):
        table.add_column(heading, justify="right")
    for copy in copies:
        figures = copy.figures()
        numbers = (f"{figures[name]:.3f}" for name in ("seconds", "mel_distance", "real_time_factor"))
        table.add_row(shown(copy.path), *numbers)
    console.output().print(table)
    for _, reason in left_out:
        console.notices().print(f"left out: {reason}", soft_wrap=True, highlight=False)


@app.command("import")
def import_public(
    checkpoint: Annotated[Path, typer.Argument(help="A public HiFi-GAN generator checkpoint.")],
    config: Annotated[Path, typer.Option(help="The config.json that came with it.")],
    output: Annotated[Path, typer.Option(help="Vocoder file to write.")] = Path("vocoder.safetensors"),
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Make a vocoder file of a public HiFi-GAN generator (V1, V2, V3) whose mel is FedVoice's.

    Examples:

        fedvoice vocoder import generator_v1 --config config.json --output hifigan.safetensors
    """
    from shared_models.vocoders import import_hifigan, save_vocoder

    found = import_hifigan(checkpoint, config)
    save_vocoder(output, found.generator, found.kind, found.dimensions, found.notes, half=half)
    parameters = sum(parameter.numel() for parameter in found.generator.parameters())
    if as_json:
        console.print_json({"output": str(output), "kind": found.kind, "parameters": parameters})
        return
    console.output().print(
        f"{output}: {found.kind}, {parameters / 1e6:.2f} million parameters", soft_wrap=True, highlight=False
    )


def _start(
    recipe: str, corpus: str | None, changes: list[str], output: Path | None, start: str | None
) -> tuple[Any, Any]:
    """The new run's folder and recipe."""
    from shared_models.recipes.vocoders import find_vocoder_recipe
    from shared_models.vocoders.from_recipe import generator_of
    from simulations.corpora import open_corpus
    from simulations.run_folder import RunFolder, default_run_path
    from simulations.vocoder_start import check_start

    if corpus is not None:
        path = corpus if corpus == "embedded" else str(Path(corpus).resolve())
        # Whose ids match is said of the recipe's own corpus.
        changes = ["corpus.only=*", *changes, f"corpus.path={path}"]
    chosen = find_vocoder_recipe(recipe, changes)
    # Before there is a run folder: without a corpus, or with a start of another size, there is no run to resume.
    open_corpus(chosen.corpus)
    if start is not None:
        check_start(start, generator_of(chosen.vocoder, chosen.seed))
    return RunFolder.create(output or default_run_path(chosen.name), chosen), chosen


def _refuse_changes(
    recipe: str,
    corpus: str | None,
    start: str | None,
    override: list[str] | None,
    default: str = DEFAULT_RECIPE,
) -> None:
    from shared_models.errors import RecipeError

    if recipe != default or corpus is not None or start is not None or override:
        raise RecipeError(
            "--resume goes on with the run's own recipe and start: leave --recipe, --corpus, --start and --set"
        )


def _shown_on(bars: console.RoundsProgress, lines: list[dict[str, Any]]) -> Callable[[int, int], None]:
    """The callback of every step: the bar moves, with the newest figures beside it."""

    from client.learning.vocoder_figures import main_loss

    def show(done: int, _total: int) -> None:
        # The validation is older than the losses: it is in one of the last lines that have it.
        validated: dict[str, Any] = next((line for line in reversed(lines) if "validation_mel" in line), {})
        newest = lines[-1] if lines else {}
        loss = main_loss(newest) if newest else None
        bars.round({"round": done, "train_loss": loss, "validation_loss": validated.get("validation_mel")})

    return show
