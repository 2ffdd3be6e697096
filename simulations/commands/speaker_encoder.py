"""``fedvoice speaker-encoder``: train an encoder of speakers, and measure how well one tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared_models import console

if TYPE_CHECKING:
    from simulations.evaluation.bootstrap import Estimate
    from simulations.evaluation.verification import Trials

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
    weights: Annotated[list[Path], typer.Argument(help="Encoders' files, ours or public ones.")],
    encoder: Annotated[
        str, typer.Option(help="d_vector, x_vector or ecapa, of a public file: ours say what they are.")
    ] = KIND,
    corpus: CorpusOption = None,
    utterances: Annotated[int, typer.Option(min=2, help="Utterances a speaker, at most.")] = 8,
    as_json: console.JsonOption = False,
) -> None:
    """The equal error rate of encoders on a corpus's test speakers, over all pairs of their utterances.

    Of several, each is also compared with the next on the same speakers. Intervals are 95 %, over speakers.

    Examples:

        fedvoice speaker-encoder test runs/ecapa/encoder.safetensors --corpus speech/

        fedvoice speaker-encoder test runs/a/encoder.safetensors runs/b/encoder.safetensors --corpus speech/

        fedvoice speaker-encoder test pretrained.pt --encoder d_vector --corpus speech/ --json
    """
    from dataclasses import asdict
    from itertools import pairwise

    from shared_models.speakers.encoders.encoder_file import kind_in
    from simulations.evaluation.verification import rate_difference, rate_of

    kinds = [kind_in(path) or encoder for path in weights]
    tried = [
        _tried(path, kind, corpus, utterances, quiet=as_json)
        for path, kind in zip(weights, kinds, strict=True)
    ]
    rates = [rate_of(own) for own in tried]
    differences = [rate_difference(one, other) for one, other in pairwise(tried)]
    if as_json:
        figures = [
            {"encoder": kind, "weights": str(path), "eer": asdict(rate)}
            for path, kind, rate in zip(weights, kinds, rates, strict=True)
        ]
        console.print_json({"encoders": figures, "differences": [asdict(found) for found in differences]})
        return
    for path, kind, rate in zip(weights, kinds, rates, strict=True):
        _print(f"{kind} {path}: {_rate(rate.mean, rate.count)} ({_percents(rate)})")
    for (one, other), found in zip(pairwise(weights), differences, strict=True):
        _print(f"{one} less {other}: {100 * found.mean:+.2f} points ({_percents(found)})")


def _tried(path: Path, kind: str, corpus: str | None, utterances: int, *, quiet: bool) -> dict[str, Trials]:
    from client.learning.cached_features import CachedFeatures
    from shared_models.config import Recipe
    from shared_models.errors import CorpusError
    from shared_models.speakers.encoders.encoder_file import load_encoder
    from simulations.evaluation.verification import trials_of_each
    from simulations.preparation import prepare_unseen
    from simulations.speaker_identification import embeddings_of

    loaded = load_encoder(path, kind)
    recipe = Recipe().override(_corpus(corpus) | {"features.signals": [loaded.hears], "cloning.support": 1})
    with console.steps_progress(f"{kind}: listening", quiet=quiet) as progress:
        data = prepare_unseen(recipe, progress=progress)
    if len(data.test) < 2:
        raise CorpusError(
            f"{recipe.corpus.path} has one usable test speaker, and an error rate needs two or more: mark more "
            "speakers as test in its table"
        )
    speakers = {n: CachedFeatures(own, data.cache, recipe.features) for n, own in data.test.items()}
    return trials_of_each(embeddings_of(loaded, speakers, loaded.hears, utterances))


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


def _percents(found: Estimate) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}"


def _print(line: str) -> None:
    console.output().print(line, soft_wrap=True, highlight=False)
