"""``fedvoice bench normaliser``: how often a text is read as a native reader would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_models.console import JsonOption, output, print_json

if TYPE_CHECKING:
    from simulations.benchmarks.normaliser import Score


def normaliser(
    lists: Annotated[
        list[Path] | None,
        typer.Argument(help="Lists of written<TAB>spoken lines, or CPP's test.sent; by default our own."),
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the lists that are given.")] = "en",
    json_output: JsonOption = False,
) -> None:
    """Read lists of texts and compare with how they are said, by class.

    A line is a text, a tab, and its reading; " / " divides equally right readings, and "# name" begins a class. In a
    list of polyphones the text has one [character] in brackets, and the reading is its pinyin. The public data set
    of polyphones, CPP, is read as it comes: name its test.sent, with test.lb beside it.

    Examples:

        fedvoice bench normaliser

        fedvoice bench normaliser mine.tsv --language zh --json
    """
    from simulations.benchmarks.normaliser import HELD_OUT, LISTS, POLYPHONES, POLYPHONES_HELD_OUT, score_list

    own = {path: code for lists_of in (LISTS, HELD_OUT) for code, path in lists_of.items()}
    own |= dict.fromkeys((POLYPHONES, POLYPHONES_HELD_OUT), "zh")
    chosen = dict.fromkeys(lists, language) if lists else own
    scores = {path: score_list(path, code) for path, code in chosen.items()}
    if json_output:
        print_json({path.name: found.as_json() for path, found in scores.items()})
        return
    for path, found in scores.items():
        _show(path, found)


def _show(path: Path, found: Score) -> None:
    from rich.table import Table

    share = found.right / len(found.lines)
    table = Table(
        title=f"{path.name}: {found.right} of {len(found.lines)} right ({share:.1%})", title_justify="left"
    )
    for column in ("class", "right", "lines"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for kind, (right, lines) in found.by_kind().items():
        table.add_row(kind, str(right), str(lines))
    output().print(table)
    if found.misses:
        misses = Table("written", "said", "right", title="Read otherwise", title_justify="left")
        for miss in found.misses:
            misses.add_row(miss.line.written, miss.said, " / ".join(miss.line.readings))
        output().print(misses)
