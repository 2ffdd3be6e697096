"""A run as one HTML file: curves, privacy, comparison and sound, readable offline and for good.

The file asks no network for anything (its content policy forbids it), and stays small enough to send
around: sound and pictures stop at a budget, three speakers at most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import jinja2
from markupsafe import Markup

from shared_models.config import Recipe
from shared_models.errors import CheckpointError
from shared_models.files import write_atomically
from simulations.extra import require
from simulations.reports import charts, figures, words
from simulations.reports.figures import results_table
from simulations.reports.media import Clip, load_clip
from simulations.run_folder import RunFolder

__all__ = ["results_table", "write_report"]

MEDIA_BUDGET = 9 << 20
SPEAKERS_HEARD = 3
ANCHORS = {
    "same person, real": ("same_speaker_real", "real"),
    "different people, real": ("different_speaker_real",),
}
_TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class ArmSummary:
    """One arm's row: everything about it that is not a metric."""

    name: str
    slot: int
    dash: str
    description: str
    epsilon: str
    ledger: words.LedgerEntry
    seconds: str
    bytes_per_round: str


@dataclass(frozen=True)
class Pair:
    """What one arm made of a speaker's sentence, before and after cloning."""

    arm: str
    slot: int
    before: Clip | None
    after: Clip | None
    note: str


@dataclass(frozen=True)
class Voice:
    """One unseen speaker, as heard: the real recording, and what each arm made of it."""

    speaker: str
    real: Clip | None
    pairs: tuple[Pair, ...]

    @property
    def longest(self) -> float:
        """Seconds of the longest clip: what the plots' widths are relative to."""
        clips = [self.real, *(clip for pair in self.pairs for clip in (pair.before, pair.after))]
        return max((clip.seconds for clip in clips if clip is not None), default=1.0)


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` into the run folder from its recipe, metrics, results and audio.

    Raises :class:`CheckpointError` where the run has no results yet, :class:`StorageError` for a full disk, and
    :class:`MissingExtraError`.
    """
    require("a report", ("matplotlib", "PIL"))
    recipe, results, environment = run.recipe(), run.results(), run.environment()
    page = _render(
        recipe=recipe,
        results=results,
        environment=environment,
        sentences=words.headline(results, recipe),
        arms=_summaries(results, recipe),
        grouped=figures.grouped_rows(results),
        intervals=_similarity_chart(results),
        curves=_curves(run, list(results["arms"])),
        voices=_voices(run, results),
        speakers=_speaker_tables(results),
        anchors=_anchor_rows(results.get("anchors") or {}),
        notes=results.get("notes") or [],
        recipe_text=_recipe_text(recipe),
        environment_rows=_environment_rows(environment),
    )
    write_atomically(run.report_path, page)
    return run.report_path


def _render(**content: Any) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(**content)


def _recipe_text(recipe: Recipe) -> str:
    """The resolved recipe without the way to the corpus: reports are passed on, and it names folders."""
    data = recipe.model_dump(mode="json")
    data["corpus"]["path"] = PurePath(data["corpus"]["path"]).name
    return json.dumps(data, indent=2, ensure_ascii=False)


def _summaries(results: Mapping[str, Any], recipe: Recipe) -> list[ArmSummary]:
    return [
        ArmSummary(
            name=name,
            slot=slot % 8,
            dash=charts.dash_of(slot),
            description=arm.get("description") or "",
            epsilon=figures.write_epsilon(arm),
            ledger=words.ledger_entry(name, arm, recipe),
            seconds=figures.write_duration(arm.get("seconds")),
            bytes_per_round=figures.write_bytes(arm.get("bytes_per_client_round")),
        )
        for slot, (name, arm) in enumerate(results["arms"].items())
    ]


def _similarity_chart(results: Mapping[str, Any]) -> Markup | None:
    rows = []
    stages = (("wrong", "wrong_speaker"), ("before", "before"), ("after", "after"))
    for slot, (name, arm) in enumerate(results["arms"].items()):
        found = [(kind, figures.arm_estimate(arm, f"similarity_{stage}")) for kind, stage in stages]
        marks = tuple((kind, mark) for kind, mark in found if mark is not None)
        if marks:
            rows.append(charts.IntervalRow(name, slot, marks))
    known = [(label, figures.anchor_similarity(results, *keys)) for label, keys in ANCHORS.items()]
    lines = [(label, mark.mean) for label, mark in known if mark is not None]
    return charts.interval_chart("Speaker similarity", rows, lines) if rows else None


def _curves(run: RunFolder, names: list[str]) -> list[tuple[str, Markup]]:
    """A chart for each quantity that some round measured."""
    wanted = (("Training loss", "train_loss"), ("Validation loss", "validation_loss"), ("ε spent", "epsilon"))
    metrics = {name: run.arm(name).metrics() for name in names}
    drawn = []
    for title, key in wanted:
        series = [
            charts.Series(
                name,
                slot,
                tuple((entry["round"], entry[key]) for entry in metrics[name] if _is_number(entry.get(key))),
            )
            for slot, name in enumerate(names)
        ]
        if any(one.points for one in series):
            drawn.append((title, charts.line_chart(title, series)))
    return drawn


def _voices(run: RunFolder, results: Mapping[str, Any]) -> list[Voice]:
    """The first speakers of the results, while the media budget lasts; shared recordings are held once."""
    by_arm = {
        name: {one["speaker"]: one for one in arm.get("speakers") or []}
        for name, arm in results["arms"].items()
    }
    speakers = list(dict.fromkeys(speaker for listed in by_arm.values() for speaker in listed))
    spent = 0
    voices: list[Voice] = []
    for speaker in speakers[:SPEAKERS_HEARD]:
        heard = {name: listed[speaker] for name, listed in by_arm.items() if speaker in listed}
        voice = _voice(run, speaker, heard, list(by_arm))
        clips = [clip for pair in voice.pairs for clip in (pair.before, pair.after, voice.real) if clip]
        spent += sum(clip.size for clip in dict.fromkeys(clips))
        if spent > MEDIA_BUDGET:
            break
        if clips:
            voices.append(voice)
    return voices


def _voice(run: RunFolder, speaker: str, by_arm: Mapping[str, Mapping[str, Any]], order: list[str]) -> Voice:
    real = None
    pairs = []
    for name, values in by_arm.items():
        audio = values.get("audio") or {}
        real = real or _clip(run, audio.get("real"))
        before, after = _clip(run, audio.get("before")), _clip(run, audio.get("after"))
        if before is not None or after is not None:
            pairs.append(Pair(name, order.index(name) % 8, before, after, _similarity_note(values)))
    return Voice(speaker, real, tuple(pairs))


def _clip(run: RunFolder, relative: str | None) -> Clip | None:
    if not relative:
        return None
    path = (run.path / relative).resolve()
    if not path.is_relative_to(run.path.resolve()):
        raise CheckpointError(f"results.json names audio outside of the run folder: {relative}")
    return load_clip(path)


def _similarity_note(values: Mapping[str, Any]) -> str:
    before, after = (figures.estimate(values.get(f"similarity_{stage}")) for stage in ("before", "after"))
    if before is None or after is None:
        return ""
    return f"similarity {before.mean:.2f} → {after.mean:.2f}"


def _speaker_tables(results: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Each arm's figures a speaker: arm, headings, rows."""
    tables = []
    for name, arm in results["arms"].items():
        speakers = arm.get("speakers") or []
        keys = list(dict.fromkeys(key for one in speakers for key in one if figures.estimate(one[key])))
        rows = [[one["speaker"], *(_plain(one.get(key)) for key in keys)] for one in speakers]
        if keys:
            tables.append((name, ["speaker", *(key.replace("_", " ") for key in keys)], rows))
    return tables


def _anchor_rows(anchors: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in anchors.items():
        label = next((label for label, keys in ANCHORS.items() if key in keys), key.replace("_", " "))
        if figures.estimate(value) is not None:
            rows.append((f"{label}: similarity", _plain(value)))
        elif isinstance(value, Mapping):
            rows += [
                (f"{label}: {name.replace('_', ' ')}", _plain(inner))
                for name, inner in value.items()
                if figures.estimate(inner) is not None
            ]
    return rows


def _plain(value: Any) -> str:
    mark = figures.estimate(value)
    if mark is None:
        return figures.DASH
    interval = f" ({charts.number(mark.low)} to {charts.number(mark.high)})" if mark.low < mark.high else ""
    return charts.number(mark.mean) + interval


def _environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(key, str(value)) for key, value in environment.items() if isinstance(value, str | int | float)]
    for group in ("machine", "packages"):
        rows += [(name.replace("_", " "), str(value)) for name, value in environment.get(group, {}).items()]
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
