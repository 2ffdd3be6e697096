"""``fedvoice bench watermark``: how reliably synthetic speech is recognised by its mark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import JsonOption, output, print_json, stages
from simulations.environment import describe_environment, machine_in_words

if TYPE_CHECKING:
    from simulations.benchmarks.watermark import Share, WatermarkBench


def watermark(
    clips: Annotated[int, typer.Option(min=1, help="Sentences to speak, mark and look for.")] = 50,
    corpus: Annotated[
        str, typer.Option(help="A folder or CSV of recordings that carry no mark, or 'embedded'.")
    ] = "embedded",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of them, evenly spread.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that compute.")] = 2,
    json_output: JsonOption = False,
) -> None:
    """Find the mark in speech as it leaves and after what recordings go through, and in recordings without it.

    Examples:

        fedvoice bench watermark

        fedvoice bench watermark --clips 100 --corpus speech/ --json
    """
    from shared_models.config import CorpusConfig
    from simulations.benchmarks.watermark import as_json, measure_watermark
    from simulations.corpora import open_corpus
    from simulations.corpora.limits import spread

    recordings = spread(open_corpus(CorpusConfig(path=corpus)).utterances, limit)
    with stages(quiet=json_output) as stage:
        found = measure_watermark(clips, recordings, threads=threads, stage=stage)
    if json_output:
        print_json({**describe_environment(), "corpus": Path(corpus).name, **as_json(found)})
        return
    _show(found)


def _show(found: WatermarkBench) -> None:
    table = Table("done to marked speech", "found", "95 %", title="The mark", title_justify="left")
    for name, share in found.detected.items():
        table.add_row(name, *_cells(share))
    table.add_section()
    for name, share in found.false_alarms.items():
        table.add_row(f"no mark: {name}", *_cells(share))
    output().print(table)
    cost, opinion = found.cost, found.opinion
    lines = [
        f"share of real time on {found.threads} thread(s): speaking {cost['speak']:.3f}, the mark {cost['mark']:.3f}, "
        f"detecting {cost['detect']:.3f}",
        f"clips of {found.seconds:.1f} s; the speech lies {found.snr:.1f} dB above the mark",
        *(
            [f"Distill-MOS {opinion['before']:.2f} before and {opinion['after']:.2f} after"]
            if opinion
            else []
        ),
        f"{machine_in_words()}; load average {found.load_average[0]:.1f} before, {found.load_average[1]:.1f} after",
    ]
    for line in lines:
        output().print(line, soft_wrap=True, highlight=False)


def _cells(share: Share) -> tuple[str, str]:
    low, high = share.interval
    return f"{share.found} of {share.of}", f"{100 * low:.1f}–{100 * high:.1f} %"
