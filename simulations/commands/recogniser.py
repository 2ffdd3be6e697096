"""``fedvoice recogniser``: give a base a judge of words, with which its clones stay intelligible."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shared_models import console


def recogniser(
    output: Annotated[
        Path, typer.Option(help="Folder for everything: the same call goes on where it was interrupted.")
    ],
    base: Annotated[
        str,
        typer.Option(help="A run folder, checkpoint or published model; 'packaged' is the one that ships."),
    ] = "packaged",
    corpus: Annotated[
        str, typer.Option(help="A folder or CSV of public speech, or 'embedded'.")
    ] = "embedded",
    utterances: Annotated[
        int | None, typer.Option(min=2, help="Of each train speaker, at most so many utterances.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps, of 16 excerpts of 1.9 s each.")] = 4000,
    lr: Annotated[
        float, typer.Option(min=1e-9, callback=console.a_number, help="The highest learning rate.")
    ] = 2e-3,
    words: Annotated[
        float,
        typer.Option(
            min=0.0,
            callback=console.a_number,
            help="How much clones heed it: cloning.words of the base that is made.",
        ),
    ] = 0.03,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 7,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compute features.")] = 1,
    as_json: console.JsonOption = False,
) -> None:
    """Train a small recogniser of phonemes on public speech, and keep it in a copy of the base.

    Clones on that base also say texts of the corpus while they adapt, which the recogniser reads, so that their words
    stay clear. The base's weights and its hash stay as they are, and so do the profiles that are bound to it.

    Examples:

        fedvoice recogniser --output runs/recogniser

        fedvoice recogniser --base runs/base --corpus public-speech.csv --output runs/recogniser
    """
    from client.learning.cached_features import CachedFeatures
    from client.learning.kept_features import TRAININGS_ROOM, KeptFeatures, Room
    from shared_models.base_model import load_base, packaged_base
    from simulations.phoneme_recognition import Settings, share_read, train_recogniser
    from simulations.preparation import prepare

    loaded = packaged_base() if base == "packaged" else load_base(Path(base))
    place = corpus if corpus == "embedded" else str(Path(corpus).resolve())
    wanted = {"path": place, "utterances": utterances}
    # Unseen speakers are read and not cloned: any two of their utterances will do.
    asked = {"corpus": wanted, "engine.workers": workers, "aligner.learn": "auto", "cloning.support": 1}
    recipe = loaded.recipe.override(asked)
    settings = Settings(steps=steps, lr=lr, seed=seed, words=words)
    with console.resumable(f"fedvoice {shlex.join(sys.argv[1:])}"):
        with console.steps_progress("listening", quiet=as_json) as progress:
            data = prepare(recipe, progress=progress)
        room = Room(TRAININGS_ROOM)
        sides = [
            {
                name: KeptFeatures(CachedFeatures(own, data.cache, recipe.features), room)
                for name, own in side.items()
            }
            for side in (data.train, data.test)
        ]
        with console.rounds_progress("recogniser", steps, quiet=as_json) as bars:

            def show(line: dict[str, Any]) -> None:
                bars.round({"round": line["step"], "train_loss": line["loss"]})

            found = train_recogniser(loaded, sides[0], output, settings, show)
        assert found.judges.recogniser is not None
        share = None
        if sides[1]:
            with console.steps_progress("reading unseen speakers", quiet=as_json) as progress:
                share = share_read(found.judges.recogniser, loaded, sides[1], progress)
    figures = {"base": str(output / "base.safetensors"), "steps": steps, "share_read": share,
               "train_speakers": len(sides[0]), "unseen_speakers": len(sides[1])}  # fmt: skip
    if as_json:
        console.print_json(figures)
        return
    read = (
        "the corpus has no unseen speakers to read"
        if share is None
        else f"it reads {100 * share:.1f} % of the frames of {len(sides[1])} unseen speakers right"
    )
    console.output().print(f"base: {figures['base']}; {read}", soft_wrap=True, highlight=False)
