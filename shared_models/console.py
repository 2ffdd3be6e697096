"""What the command line shows: progress on stderr, figures on stdout, errors as one line.

Nothing else in FedVoice draws, and nothing that is drawn is read as markup
(:mod:`shared_models.literal_console`): style is given as a :class:`rich.text.Text`, by :func:`styled`.
Long loops take a callback ``(done, total)``; this turns it into a bar. Under ``--json``, or where stderr is no
terminal, there are no bars.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from shared_models.errors import CollapsedError, OtherTrainingError, RecipeError
from shared_models.literal_console import LiteralConsole
from shared_models.plain_json import finite
from shared_models.shown_text import shown

JsonOption = Annotated[bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="Where to compute: cpu, cuda, cuda:1, mps, or auto, which takes what is there."
    ),
]
ProgressCallback = Callable[[int, int], None]


def output() -> Console:
    """The console for figures and tables: stdout."""
    return LiteralConsole()


def notices() -> Console:
    """The console for progress and errors: stderr, so that stdout can be piped."""
    return LiteralConsole(stderr=True)


def styled(text: object, style: str) -> Text:
    """One line of text in a style, as "bold red"."""
    return Text(shown(text), style)


def print_json(data: Any) -> None:
    """Plain data on stdout; NaN and infinity, which JSON lacks, become null, and what a terminal obeys is escaped."""
    text = json.dumps(finite(data), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(_UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n")


def whole_numbers(option: str, text: str, least: int, example: str) -> list[int]:
    """The numbers that ``text`` lists, separated by commas. Raises :class:`RecipeError` if one is below ``least``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        raise RecipeError(f"{option} takes whole numbers from {least}, as in {example}, and not '{text}'")
    return [int(part) for part in parts]


def a_number(parameter: typer.CallbackParam, value: float | None) -> float | None:
    """A callback of options: refuses nan, which is within any range that an option names."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no number", param=parameter)
    return value


def print_error(message: str) -> None:
    """One line on stderr, however wide the terminal is."""
    line = " ".join(message.split())
    notices().print(Text.assemble(("error:", "bold red"), " ", line), soft_wrap=True, highlight=False)


@contextlib.contextmanager
def resumable(command: str) -> Iterator[None]:
    """Say how to go on after whatever interrupts the block: ``command`` is shown with the error.

    The command travels as a note on the exception, so that it survives any wrapping on its way up. A folder that holds
    another training is no interruption, nor is a training that came to nothing.
    """
    try:
        yield
    except (OtherTrainingError, CollapsedError):
        raise
    except BaseException as interruption:
        interruption.add_note(f"{_NOTE}{command}")
        raise


def how_to_resume(error: BaseException) -> str | None:
    """The command that :func:`resumable` attached to ``error`` or to what caused it."""
    current: BaseException | None = error
    while current is not None:
        for note in getattr(current, "__notes__", ()):
            if note.startswith(_NOTE):
                return str(note.removeprefix(_NOTE))
        current = current.__cause__ or current.__context__
    return None


@contextlib.contextmanager
def current_work(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line that says what is being done, for what cannot tell how far it is."""
    if quiet:
        yield lambda _: None
        return
    with notices().status("starting") as status:
        yield status.update


@contextlib.contextmanager
def steps_progress(title: str, *, quiet: bool = False) -> Iterator[ProgressCallback]:
    """A bar for one long loop; yields the callback ``(done, total)`` that drives it."""
    with _bars(quiet, _plain_column("{task.description}", "bold")) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextlib.contextmanager
def stages(*, quiet: bool) -> Iterator[Callable[[str], ProgressCallback]]:
    """One bar after another: a stage's title to the callback ``(done, total)`` of its bar, which replaces the last."""
    with contextlib.ExitStack() as bars:

        def stage(title: str) -> ProgressCallback:
            bars.close()
            return bars.enter_context(steps_progress(title, quiet=quiet))

        yield stage


class RoundsProgress:
    """The bars of a federated run: rounds with ε so far and time left, and the clients of this round."""

    def __init__(self, bars: Progress, title: str, rounds: int) -> None:
        self._bars = bars
        self._rounds: TaskID = bars.add_task(title, total=rounds, figures="")
        self._clients: TaskID = bars.add_task("  clients", total=None, figures="", visible=False)

    def clients(self, done: int, total: int) -> None:
        """So many clients of this round have answered: the callback of an engine."""
        self._bars.update(self._clients, completed=done, total=total, visible=True)

    def round(self, metrics: Mapping[str, Any]) -> None:
        """A round has ended with these metrics (a line of ``metrics.jsonl``)."""
        self._bars.update(self._rounds, completed=metrics["round"], figures=figures_of(metrics))


@contextlib.contextmanager
def rounds_progress(title: str, rounds: int, *, quiet: bool = False) -> Iterator[RoundsProgress]:
    """Bars for a federated run of so many rounds."""
    columns = (_plain_column("{task.description}", "bold"), _plain_column("{task.fields[figures]}", "cyan"))
    with _bars(quiet, *columns) as bars:
        yield RoundsProgress(bars, title, rounds)


def figures_of(metrics: Mapping[str, Any]) -> str:
    """The few numbers beside a bar: ``loss 0.812  validation 0.901  ε 3.20``; what is missing is left out."""
    from shared_models.shown_epsilon import epsilon_shown

    shown = (("loss", "train_loss", ".3f"), ("validation", "validation_loss", ".3f"))
    parts = []
    for label, key, form in shown:
        value = metrics.get(key)
        if isinstance(value, int | float) and math.isfinite(value):
            parts.append(f"{label} {value:{form}}")
    if isinstance(spent := metrics.get("epsilon"), int | float):
        parts.append(f"ε {epsilon_shown(spent)}")
    return "  ".join(parts)


_NOTE = "resume: "
_UNSEEN = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]"
)
"""What JSON leaves as it is and a terminal may obey, or show as something else."""


def _plain_column(form: str, style: str) -> TextColumn:
    return TextColumn(form, style=style, markup=False)


def _bars(quiet: bool, label: TextColumn, *figures: TextColumn) -> Progress:
    console = notices()
    return Progress(
        label,
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        *figures,
        _plain_column("left", "dim"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
