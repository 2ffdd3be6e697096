"""``fedvoice speaker-encoder``: train an encoder of speakers, and measure how well one tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shared_models import console

app = typer.Typer(no_args_is_help=True, help="Train a speaker encoder, and measure one.")

CorpusOption = Annotated[str | None, typer.Option(help="A folder or CSV instead of the packaged voices.")]
KIND = "ecapa"


@app.command()
def train(
    encoder: Annotated[str, typer.Option(help="d_vector, x_vector or ecapa.")] = KIND,
    corpus: CorpusOption = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field, as encoder.steps=3000; repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Run folder; runs/KIND-TIME by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with an interrupted run.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Train a speaker encoder to tell a corpus's train speakers apart; the equal error rate is of unseen ones.

    The run folder ends with encoder.safetensors, for fedvoice embed --weights and speaker.encoders in a recipe.

    Examples:

        fedvoice speaker-encoder train --encoder ecapa --corpus speech/

        fedvoice speaker-encoder train --encoder d_vector --set encoder.loss=ge2e --set encoder.steps=20000

        fedvoice speaker-encoder train --resume runs/ecapa-20261127-140000
    """
    from shared_models.errors import RecipeError
    from simulations.preparation import prepare
    from simulations.run_folder import RunFolder
    from simulations.speaker_identification import train_encoder

    if resume is not None:
        if encoder != KIND or corpus is not None or override:
            raise RecipeError(
                "--resume goes on with the run's own recipe: leave --encoder, --corpus and --set"
            )
        run = RunFolder.open(resume)
    else:
        run = _start(encoder, corpus, override or [], output)
    recipe, lines = run.recipe(), []
    with console.resumable(f"fedvoice speaker-encoder train --resume {run.path}"):
        with console.steps_progress("listening", quiet=as_json) as progress:
            data = prepare(recipe, progress=progress)
        with console.rounds_progress(recipe.name, recipe.encoder.steps, quiet=as_json) as bars:

            def show(line: dict[str, Any]) -> None:
                lines.append(line)
                bars.round({"round": line["step"], "train_loss": line["loss"]})

            path = train_encoder(run, recipe, data, on_metrics=show)
    # A run that was finished before has no new line.
    eer = next((line["eer"] for line in reversed(lines) if "eer" in line), None)
    figures = {"encoder": str(path), "run": str(run.path), "steps": recipe.encoder.steps, "eer": eer,
               "train_speakers": len(data.train), "unseen_speakers": len(data.test)}  # fmt: skip
    if as_json:
        console.print_json(figures)
        return
    said = "the run was finished before" if eer is None else _rate(eer, len(data.test))
    console.output().print(f"encoder: {path}; {said}", soft_wrap=True, highlight=False)


@app.command("test")
def measure(
    weights: Annotated[Path, typer.Argument(help="An encoder's file, ours or a public one.")],
    encoder: Annotated[str, typer.Option(help="d_vector, x_vector or ecapa.")] = KIND,
    corpus: CorpusOption = None,
    utterances: Annotated[int, typer.Option(min=2, help="Utterances a speaker, at most.")] = 8,
    as_json: console.JsonOption = False,
) -> None:
    """The equal error rate of an encoder on a corpus's test speakers, over all pairs of their utterances.

    Examples:

        fedvoice speaker-encoder test runs/ecapa/encoder.safetensors --corpus speech/

        fedvoice speaker-encoder test pretrained.pt --encoder d_vector --corpus speech/ --json
    """
    from client.learning.cached_features import CachedFeatures
    from shared_models.config import Recipe
    from shared_models.speakers.encoders.encoder_file import load_encoder
    from simulations.preparation import prepare_unseen
    from simulations.speaker_identification import eer_of

    loaded = load_encoder(weights, encoder)
    recipe = Recipe().override(_corpus(corpus) | {"features.signals": [loaded.hears], "cloning.support": 1})
    with console.steps_progress("listening", quiet=as_json) as progress:
        data = prepare_unseen(recipe, progress=progress)
    speakers = {n: CachedFeatures(own, data.cache, recipe.features) for n, own in data.test.items()}
    eer = eer_of(loaded, speakers, loaded.hears, utterances)
    if as_json:
        console.print_json(
            {"encoder": encoder, "weights": str(weights), "eer": eer, "speakers": len(speakers)}
        )
        return
    console.output().print(_rate(eer, len(speakers)), soft_wrap=True, highlight=False)


def _start(encoder: str, corpus: str | None, changes: list[str], output: Path | None) -> Any:
    from shared_models.config import Recipe, parse_override
    from simulations.corpora import open_corpus
    from simulations.run_folder import RunFolder, default_run_path
    from simulations.speaker_identification import with_signal

    chosen = Recipe().override(
        {"name": encoder, "encoder.kind": encoder, **_corpus(corpus)}
        | dict(parse_override(c) for c in changes)
    )
    # Before there is a run folder: without a corpus, or with sizes that do not fit, there is no run to resume.
    recipe = with_signal(chosen)
    open_corpus(recipe.corpus)
    return RunFolder.create(output or default_run_path(recipe.name), recipe)


def _corpus(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    return {"corpus.path": path if path == "embedded" else str(Path(path).resolve())}


def _rate(eer: float, speakers: int) -> str:
    return f"equal error rate {100 * eer:.2f} % on {speakers} unseen speakers"
