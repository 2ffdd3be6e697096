"""The results' figures, named, ordered and written as people read them; the terminal's table of them.

``results.json`` is ``{"recipe", "arms": {NAME: {"description", "epsilon", "metrics", "speakers", "seconds",
"bytes_per_client_round"}}, "anchors", "notes"}``. A metric is ``{"mean", "low", "high", "n"}`` (interval
over speakers), a bare number, or null; whatever is missing is shown as a dash. An anchor is a metric, or an
object of several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from shared_models.config import UNPROTECTED
from shared_models.errors import CheckpointError
from shared_models.shown_epsilon import epsilon_shown
from simulations.reports.charts import Interval

DASH = "–"


@dataclass(frozen=True)
class Metric:
    """How one metric is written. ``better`` is the direction of improvement: 1 up, -1 down."""

    key: str
    label: str
    unit: str
    digits: int
    better: int
    percent: bool = False

    def write(self, value: float) -> str:
        return f"{value * 100:.{self.digits}f}%" if self.percent else f"{value:.{self.digits}f}"


METRICS = (
    Metric("similarity", "Speaker similarity", "cosine", 3, 1),
    Metric("mcd", "Mel-cepstral distortion", "dB", 2, -1),
    Metric("wer", "Word error rate", "", 1, -1, percent=True),
    Metric("cer", "Character error rate", "", 1, -1, percent=True),
    Metric("f0_rmse", "F0 RMSE", "Hz", 1, -1),
    Metric("f0_rmse_cents", "F0 RMSE", "cents", 0, -1),
    Metric("validation_loss", "Validation loss", "", 3, -1),
)
STAGES = {
    "before": "before cloning",
    "zero_shot": "zero-shot",
    "after": "after cloning",
    "wrong_speaker": "wrong speaker",
    "real": "real",
}


@dataclass(frozen=True)
class Cell:
    """One figure as shown: the mean, and the interval below it."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Row:
    """One metric at one stage, and its cell for each arm."""

    metric: Metric
    stage: str
    cells: tuple[Cell, ...]

    @property
    def label(self) -> str:
        return STAGES.get(self.stage, "")


def estimate(value: Any) -> Interval | None:
    """A metric of the results as mean and interval; None where there is no finite mean."""
    if isinstance(value, Mapping):
        mean = _finite(value.get("mean"))
        if mean is None:
            return None
        low, high = _finite(value.get("low")), _finite(value.get("high"))
        return Interval(mean, mean if low is None else low, mean if high is None else high)
    mean = _finite(value)
    return None if mean is None else Interval(mean, mean, mean)


def arm_estimate(arm: Mapping[str, Any], key: str) -> Interval | None:
    """An arm's metric. The wrong-speaker baseline is that of the cloned voice, where both are there."""
    metrics = arm.get("metrics") or {}
    for name in (key, f"{key}_after") if key.endswith("wrong_speaker") else (key,):
        found = estimate(metrics.get(name, arm.get(name)))
        if found is not None:
            return found
    return None


def anchor_similarity(results: Mapping[str, Any], *names: str) -> Interval | None:
    """What real speech scores: the first of the named anchors that there is, bare or with other metrics."""
    for name in names:
        value = (results.get("anchors") or {}).get(name)
        found = estimate(value.get("similarity", value) if isinstance(value, Mapping) else value)
        if found is not None:
            return found
    return None


def grouped_rows(results: Mapping[str, Any]) -> list[tuple[Metric, list[Row]]]:
    """The table: every metric and, in reading order, each stage of it that at least one arm measured."""
    arms = list(results["arms"].values())
    groups = []
    for metric in METRICS:
        rows = []
        for stage in ("", *STAGES):
            key = f"{metric.key}_{stage}" if stage else metric.key
            values = [arm_estimate(arm, key) for arm in arms]
            if any(value is not None for value in values):
                rows.append(Row(metric, stage, tuple(_cell(metric, value) for value in values)))
        if rows:
            groups.append((metric, rows))
    return groups


def write_epsilon(arm: Mapping[str, Any]) -> str:
    """``8.00``, rounded up, or in a word what there is instead: ``unprotected``, and never 0."""
    ledger = arm.get("epsilon")
    if not ledger:
        return str(arm.get("protection") or UNPROTECTED)
    value = _finite(ledger.get("epsilon"))
    return epsilon_shown(math.inf if value is None else value)


def write_delta(delta: float) -> str:
    """``1e-5`` as papers write it, and not ``1e-05``."""
    return f"{delta:g}".replace("e-0", "e-")


def write_duration(seconds: Any) -> str:
    """``48 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    value = _finite(seconds)
    if value is None:
        return DASH
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def write_bytes(count: Any) -> str:
    """``0 B``, ``1.4 MiB``: what one client sends and receives a round."""
    value = _finite(count)
    if value is None:
        return DASH
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def results_table(results: Mapping[str, Any]) -> Table:
    """The comparison for the terminal, an arm a column, so that four arms fit on 80 characters."""
    arms = results["arms"].values()
    title = f"Unseen speakers, recipe '{results['recipe']}'"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in results["arms"]:
        table.add_column(name, justify="right", overflow="fold")
    table.add_row(
        "privacy ε",
        *(write_epsilon(arm) if arm.get("epsilon") else Text(write_epsilon(arm), "red") for arm in arms),
    )
    for metric, group in grouped_rows(results):
        if group[0].stage:
            table.add_row(_SHORT[metric.key], style="dim")
        for row in group:
            _add_stage(table, row)
    table.add_row("time", *(write_duration(arm.get("seconds")) for arm in arms))
    return table


def markdown_table(results: Mapping[str, Any]) -> str:
    """An evaluation's figures as a Markdown table. Raises :class:`CheckpointError` if they are none."""
    try:
        rows = [
            f"| {metric.label}{f' ({metric.unit})' if metric.unit else ''} | {row.label} | {row.cells[0].text} "
            f"| {row.cells[0].interval} |"
            for metric, group in grouped_rows(results)
            for row in group
        ]
        speakers = int(results["unseen_speakers"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise CheckpointError(
            "the figures are not those of fedvoice evaluate: name its results.json"
        ) from None
    head = "| measured | | mean | 95% |\n| --- | --- | --- | --- |\n"
    return f"Measured by `fedvoice evaluate` on {speakers} unseen speakers.\n\n" + head + "\n".join(rows)


def _add_stage(table: Table, row: Row) -> None:
    after = row.stage == "after"
    label = f"  {STAGES[row.stage].removesuffix(' cloning')}" if row.stage else _SHORT[row.metric.key]
    table.add_row(label, *(cell.text for cell in row.cells), style="bold" if after else None)
    if after and row.metric.key == "similarity":
        table.add_row("    95%", *(cell.interval for cell in row.cells), style="dim")


_SHORT = {
    "similarity": "similarity",
    "mcd": "MCD (dB)",
    "wer": "WER",
    "cer": "CER",
    "f0_rmse": "F0 RMSE (Hz)",
    "f0_rmse_cents": "F0 RMSE (cents)",
    "validation_loss": "validation loss",
}


def _cell(metric: Metric, value: Interval | None) -> Cell:
    if value is None:
        return Cell(DASH)
    if value.low == value.high:
        return Cell(metric.write(value.mean))
    return Cell(metric.write(value.mean), f"{metric.write(value.low)}–{metric.write(value.high)}")


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
