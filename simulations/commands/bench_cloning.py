"""``fedvoice bench cloning``: how much clones are like the people, and how natural, beside what is real."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import DeviceOption, JsonOption, output, print_json, stages
from simulations.environment import describe_environment, machine_in_words

if TYPE_CHECKING:
    from simulations.benchmarks.cloning import CloningBench
    from simulations.evaluation.bootstrap import Estimate

_METRICS = {
    "campplus": "CAM++ likeness", "resemblyzer": "GE2E likeness", "identified": "identified", "eer": "EER",
    "wer": "WER", "distillmos": "DistillMOS", "rate": "rate / real", "f0_spread": "F0 spread / real",
}  # fmt: skip


def cloning(
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="Folder or CSV with unseen speakers, or 'embedded' (the default); repeatable."),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            help="'packaged' (the default), a run folder, or a checkpoint; repeatable, side by side."
        ),
    ] = None,
    voice: Annotated[
        list[str] | None,
        typer.Option(help="A base's own voice beside its clones: a name or profile; repeatable."),
    ] = None,
    vocoder: Annotated[
        list[str] | None,
        typer.Option(help="packaged, griffin_lim, or a vocoder file: one for all bases, or one for each."),
    ] = None,
    support: Annotated[int, typer.Option(min=2, help="Recordings to clone a speaker from.")] = 5,
    sentences: Annotated[int, typer.Option(min=1, help="Texts that each clone speaks.")] = 3,
    speakers: Annotated[
        int | None, typer.Option(min=1, help="At most so many unseen speakers a corpus.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for the figures: the same call goes on where it was."),
    ] = None,
    listen: Annotated[
        Path | None, typer.Option(help="Folder for a clip of every speaker and way, as WAV.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG with spectrograms of the first four speakers and their clones.")
    ] = None,
    oracle_prosody: Annotated[
        bool,
        typer.Option(
            help="Adapted clones also speak with the durations, pitch and energy of the recordings."
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; speakers are judged in parallel.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="Where features are kept between runs.")] = None,
    device: DeviceOption = "cpu",
    json_output: JsonOption = False,
) -> None:
    """Clone unseen speakers zero-shot and adapted, and judge what the clones say beside the people themselves.

    Likeness is to other recordings of the speaker than those that were cloned from or are spoken. Intervals are over
    speakers. Speech is judged as a person hears it, but before the mark; clips that are kept are marked.

    Examples:

        fedvoice bench cloning --corpus my-corpus/ --output runs/cloning

        fedvoice bench cloning --corpus my-corpus/ --base packaged --base runs/new --speakers 8 --json
    """
    from shared_models.files import write_atomically
    from shared_models.plain_json import finite
    from simulations.benchmarks import cloning as benchmark
    from simulations.benchmarks.cloning_bases import find_bases
    from simulations.benchmarks.cloning_material import choose_material
    from simulations.benchmarks.cloning_work import Setting
    from simulations.preparation import default_cache

    bases = find_bases(base or ["packaged"], voice, vocoder, oracle=oracle_prosody)
    kept, recipe = cache or default_cache(), bases[0].recipe
    with ExitStack() as stack:
        stage = stack.enter_context(stages(quiet=json_output))
        where = folder or Path(stack.enter_context(TemporaryDirectory(prefix="fedvoice-cloning-")))
        material = choose_material(
            corpus or ["embedded"], recipe.features, kept, support=support, sentences=sentences, speakers=speakers,
            workers=workers, progress=stage("recordings"),
        )  # fmt: skip
        found = benchmark.measure_cloning(
            bases, material, Setting(recipe, kept, where, device), workers=workers, stage=stage
        )
        figures = describe_environment() | {"device": device} | benchmark.as_json(found)
        if folder is not None:
            write_atomically(folder / "results.json", json.dumps(finite(figures), indent=2))
        if listen is not None:
            benchmark.copy_clips(found, listen)
        if figure is not None:
            benchmark.draw_clones(found, figure)
    if json_output:
        print_json(figures)
        return
    _show(found)


def _show(found: CloningBench) -> None:
    people = found.material.people
    corpora = " and ".join(dict.fromkeys(person.corpus for person in people))
    title = f"{len(people)} unseen speakers of {corpora}, means over speakers with 95 % intervals"
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in found.columns:
        table.add_column(column.name.replace(": ", ":\n"), justify="right", overflow="fold")
    for name, shown in _METRICS.items():
        table.add_row(shown, *(_cell(column.metrics[name]) for column in found.columns))
    output().print(table)
    load = found.load_average
    lines = [
        *(f"left out: {reason}" for reason in found.material.left_out),
        f"identified by chance: {1 / len(people):.2f}; {machine_in_words()}; load average {load[0]:.1f} before and "
        f"{load[1]:.1f} after",
    ]
    for line in lines:
        output().print(line, soft_wrap=True, highlight=False)


def _cell(estimate: Estimate) -> str:
    mean = f"{estimate.mean:.3f}"
    return mean if estimate.count < 2 else f"{mean}\n{estimate.low:.2f}–{estimate.high:.2f}"
