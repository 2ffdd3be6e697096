"""``fedvoice export``: a model in the forms in which it is deployed, and what each costs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from shared_models import console

if TYPE_CHECKING:
    from simulations.deployment.figures import Figures
    from simulations.deployment.tuning import Stage

_HEARD = 50


def export(
    output: Annotated[Path, typer.Option(help="Folder to write, with one folder a form in it.")],
    base: Annotated[
        Path | None,
        typer.Option(help="Run folder or checkpoint with the acoustic model; the packaged one by default."),
    ] = None,
    vocoder: Annotated[
        Path | None,
        typer.Option(help="Vocoder file: magnitude, Vocos or HiFi-GAN; the packaged one by default."),
    ] = None,
    form: Annotated[
        Literal["onnx", "int8", "pruned", "distilled", "all"],
        typer.Option(help="What to make. Pruned and distilled are trained, on the speech of --corpus."),
    ] = "onnx",
    arm: Annotated[
        str | None, typer.Option(help="Arm of the run; federated_dp or federated by default.")
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Folder or CSV of the voice that speaks, of which up to 50 are heard; nobody's voice without."
        ),
    ] = None,
    voice: Annotated[
        str | None, typer.Option(help="Instead: a profile on the base, or a packaged voice's name.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Public speech to train on, or 'embedded'; the base's own by default.")
    ] = None,
    only: Annotated[str, typer.Option(help="Speakers of --corpus whose id matches.")] = "*",
    utterances: Annotated[
        int,
        typer.Option(
            min=10,
            help="Recordings of --corpus to train on at most, equally many of each speaker: all of a large "
            "corpus take many minutes to read, and a short training does not get round to them.",
        ),
    ] = 600,
    steps: Annotated[
        int, typer.Option(min=0, help="Training steps of the pruned and of the distilled model.")
    ] = 2000,
    vocoder_steps: Annotated[
        int, typer.Option(min=0, help="Training steps of the pruned vocoder; 0 prunes alone.")
    ] = 3000,
    ratio: Annotated[
        float,
        typer.Option(callback=console.a_number, min=1.01, help="How many times smaller pruning makes it."),
    ] = 2.0,
    student: Annotated[
        list[str] | None,
        typer.Option("--student", help="Size of the distilled model, as model.filter=256; repeatable."),
    ] = None,
    sentences: Annotated[int, typer.Option(min=1, help="Sentences that each form speaks.")] = 10,
    cache: Annotated[Path | None, typer.Option(help="Where features are kept between runs.")] = None,
    device: console.DeviceOption = "auto",
    as_json: console.JsonOption = False,
) -> None:
    """Export a model as ONNX, int8, pruned or distilled, and compare size, speed and sound with the original.

    Examples:

        fedvoice export --output deployed

        fedvoice export --base runs/real --output deployed --form int8 --recordings me/

        fedvoice export --base runs/real --output deployed --form all --corpus embedded
    """
    from shared_models.base_model import load_base, packaged_base
    from shared_models.config import parse_override
    from shared_models.vocoders import load_vocoder, packaged_vocoder
    from simulations.deployment.forms import FORMS, Plan, Source, deploy
    from simulations.deployment.pruned_base import Pruning
    from simulations.deployment.tuning import Tuning, limited

    loaded = load_base(base, arm) if base is not None else packaged_base()
    generator = load_vocoder(vocoder) if vocoder is not None else packaged_vocoder()
    tuning = Tuning(steps, corpus, only, cache=cache, device=device)
    if form in {"pruned", "distilled", "all"} and steps + vocoder_steps:
        tuning = limited(loaded.recipe, tuning, utterances)
    with console.resumable(f"fedvoice {shlex.join(sys.argv[1:])}"), console.stages(quiet=as_json) as stage:
        heard = _heard(recordings, loaded.recipe, stage)
        plan = Plan(
            forms=FORMS if form == "all" else (form,),
            pruning=Pruning(ratio),
            tuning=tuning,
            student=dict(parse_override(text) for text in student or []),
            vocoder_steps=vocoder_steps,
            sentences=sentences,
        )
        loaded, speaker = _profile(voice, loaded, packaged=base is None)
        rows = deploy(Source(loaded, generator, heard, speaker), output, plan, stage)
    if as_json:
        console.print_json({"output": str(output), "forms": [row.as_json() for row in rows]})
        return
    console.output().print(_table(rows))
    console.output().print(f"files: {output}", soft_wrap=True, highlight=False)


def _profile(voice: str | None, base: Any, *, packaged: bool) -> Any:
    """``base`` for the voice of a profile, and that voice, if any; the packaged base has a voice of its own."""
    from client.profile import load_profile
    from shared_models.pretrained import DEFAULT_VOICE, packaged_voice, voice_names

    named = voice or (DEFAULT_VOICE if packaged and DEFAULT_VOICE in voice_names() else None)
    if named is None:
        return base, None
    path = packaged_voice(named) if named in voice_names() else Path(named)
    own = load_profile(path, base=base.hash)
    return base.adapted(own.adaptation or {}), own.voice


def _heard(recordings: Path | None, recipe: Any, stage: Stage) -> list[Any]:
    """The person who speaks, by a few minutes of recordings: more hardly move an average."""
    from client.enrollment import enroll

    return [] if recordings is None else enroll(recordings, recipe, stage("listening"), _HEARD).features


def _table(rows: list[Figures]) -> Table:
    table = Table(title="Deployed forms")
    for column in ("form", "MB", "real-time factor", "mel L1", "WER", "similarity"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for row in rows:
        table.add_row(
            row.form, f"{row.megabytes:.1f}", f"{row.real_time_factor:.3f}", f"{row.mel_l1:.4f}",
            "-" if row.wer is None else f"{100 * row.wer:.1f} %",
            "-" if row.similarity is None else f"{row.similarity:.3f}",
        )  # fmt: skip
    return table
