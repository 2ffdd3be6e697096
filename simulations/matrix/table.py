"""The matrix to read: a Markdown table, and a picture of likeness against what a voice weighs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shared_models.files import write_atomically
from simulations.environment import machine_in_words
from simulations.evaluation.bootstrap import Estimate
from simulations.extra import require
from simulations.matrix.summary import CAMPPLUS, GE2E, Row, likeness
from simulations.matrix.training import Trained

if TYPE_CHECKING:
    from simulations.matrix.matrix import Matrix

TITLES = {
    CAMPPLUS: "CAM++", GE2E: "GE2E", "mcd": "MCD, dB", "f0": "F0, cents", "wer": "WER", "seconds": "adapting, s",
}  # fmt: skip
_PLACES = {"mcd": 2, "f0": 0, "seconds": 1}


def markdown(matrix: Matrix) -> str:
    """The whole page."""
    people = len(matrix.people)
    metrics = [name for name in TITLES if any(name in row.metrics for row in matrix.rows)]
    parts = [
        "# Voice recipes side by side\n",
        f"{people} unseen speakers; means with 95 % intervals by bootstrap over speakers. Budget: {matrix.budget} a "
        f"recipe from the public start '{matrix.start}'. {machine_in_words()}.\n",
        _table(["recipe", "speaks after", *(TITLES[name] for name in metrics)],
               [[row.name, row.way, *(_cell(row.metrics.get(n), n) for n in metrics)] for row in matrix.rows]),
        _table(["recipe", "algorithm", "steps", "training, s", "from the start", "personal", "numbers", "bytes"],
               [_training_of(name, trained) for name, trained in matrix.trained.items()]),
    ]  # fmt: skip
    if matrix.rates:
        rows = [[kind, _cell(rate, "eer")] for kind, rate in matrix.rates.items()]
        parts.append(_table(["speaker encoder", "EER"], rows))
    parts += [_list("Orderings of the literature", [str(one) for one in matrix.orderings])]
    parts += [_list("Failed", [f"{name}: {reason}" for name, reason in matrix.failed.items()])]
    parts += [_list("Left out", matrix.left_out)]
    return "\n".join(part for part in parts if part)


def draw(path: Path, rows: Sequence[Row], trained: Mapping[str, Trained]) -> None:
    """Likeness over a voice's numbers, a point a recipe with its interval; people and start as lines.

    Raises :class:`MissingExtraError` without matplotlib, and StorageError.
    """
    require("a figure of the matrix", ("matplotlib",))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    last = {row.name: row for row in rows}
    metric = likeness(rows[0])
    for name, row in last.items():
        found = row.metrics[metric]
        if name not in trained:
            axes.axhline(found.mean, linestyle=":", color="0.5")
            axes.annotate(
                name, (1, found.mean), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
            )
            continue
        numbers = max(trained[name].numbers, 1)
        around = None if found.count < 2 else [[found.mean - found.low], [found.high - found.mean]]
        axes.errorbar([numbers], [found.mean], yerr=around, fmt="o", capsize=2, markersize=4)
        axes.annotate(name, (numbers, found.mean), xytext=(4, 3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("numbers that a voice trains")
    axes.set_ylabel(f"likeness to the person ({TITLES[metric]})")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


def _training_of(name: str, trained: Trained) -> list[str]:
    return [
        name, trained.algorithm, f"{trained.steps}", f"{trained.seconds:.0f}", f"{trained.from_start:.0%}",
        trained.personal, f"{trained.numbers:,}", f"{trained.bytes:,}",
    ]  # fmt: skip


def _cell(found: Estimate | None, metric: str) -> str:
    if found is None or found.count == 0:
        return ""
    places = _PLACES.get(metric, 3)
    mean = f"{found.mean:.{places}f}"
    return mean if found.count < 2 else f"{mean} ({found.low:.{places}f} to {found.high:.{places}f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _list(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "".join(f"- {line}\n" for line in lines) if lines else ""
