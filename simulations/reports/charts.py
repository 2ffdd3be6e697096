"""The report's charts, as inline SVG: no script draws them, so they print and are read aloud too.

Colours are the page's CSS variables (light and dark each have their own); a dash pattern tells the arms
apart where colours do not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

DASHES = ("", "7 3", "2 3", "10 3 2 3")
WIDTH = 360
HEIGHT = 230
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 38


@dataclass(frozen=True)
class Series:
    """One arm's curve; ``slot`` picks its colour and dash."""

    name: str
    slot: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; an interval of no width is a bare mark."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalRow:
    """One arm's intervals, by kind: ``wrong``, ``before``, ``after``."""

    name: str
    slot: int
    marks: tuple[tuple[str, Interval], ...]


def dash_of(slot: int) -> str:
    """The dash pattern of an arm's curve."""
    return DASHES[(slot // 2) % len(DASHES)] if slot % 2 == 0 else DASHES[(slot // 2 + 1) % len(DASHES)]


def line_chart(title: str, series: Sequence[Series], x_label: str = "round") -> Markup:
    """Curves over rounds; hovering reads the values off (the page's script, from ``data-series``)."""
    drawn = [one for one in series if one.points]
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points]
    y_ticks = ticks(min(ys), max(ys))
    x_ticks = [tick for tick in ticks(min(xs), max(xs)) if tick == int(tick) and min(xs) <= tick <= max(xs)]
    across = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [_horizontal_grid(y_ticks, up), _x_axis(x_ticks, across, x_label)]
    for one in drawn:
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in one.points)
        dash = dash_of(one.slot)
        parts.append(
            f'<polyline class="curve s{one.slot % 8}" points="{path}"'
            + (f' stroke-dasharray="{dash}"' if dash else "")
            + "/>"
        )
        if len(one.points) <= 12:  # few measurements are shown as such
            parts += [
                f'<circle class="dot s{one.slot % 8}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.6"/>'
                for x, y in one.points
            ]
    parts.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="0" x2="0"/>')
    data = [{"name": one.name, "slot": one.slot % 8, "points": one.points} for one in drawn]
    scale = {"left": LEFT, "right": WIDTH - RIGHT, "from": min(xs), "to": max(xs), "width": WIDTH}
    summary = "; ".join(f"{one.name} ends at {number(one.points[-1][1])}" for one in drawn)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)} by {escape(x_label)}: {escape(summary)}"'
        f' data-series="{escape(json.dumps(data))}" data-scale="{escape(json.dumps(scale))}">'
        + "".join(parts)
        + "</svg>"
    )


def interval_chart(
    title: str, rows: Sequence[IntervalRow], anchors: Sequence[tuple[str, float]] = ()
) -> Markup:
    """A row an arm, with means and confidence intervals; dashed uprights mark the anchors of real speech."""
    row_height, left, right, top = 46, 150, 18, 34
    height = top + row_height * len(rows) + 30
    bounds = [value for row in rows for _, mark in row.marks for value in (mark.low, mark.high)]
    bounds += [value for _, value in anchors]
    x_ticks = ticks(min(bounds), max(bounds))
    across = _scale(x_ticks[0], x_ticks[-1], left, 900 - right)
    bottom = top + row_height * len(rows)
    parts = [
        f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{top}" y2="{bottom}"/>'
        f'<text class="tick" x="{across(tick):.1f}" y="{bottom + 18}" text-anchor="middle">'
        f"{number(tick)}</text>"
        for tick in x_ticks
    ]
    for place, (label, value) in enumerate(sorted(anchors, key=lambda anchor: anchor[1])):
        x = across(value)
        toward = "end" if place and x > 700 else "middle"
        parts.append(
            f'<line class="anchor" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{top - 13}" text-anchor="{toward}">'
            f"{escape(label)} {number(value)}</text>"
        )
    for place, row in enumerate(rows):
        middle = top + row_height * (place + 0.5)
        parts.append(
            f'<text class="row-label" x="{left - 14}" y="{middle + 5:.1f}" text-anchor="end">'
            f"{escape(row.name)}</text>"
        )
        for kind, mark in row.marks:
            y = middle + {"wrong": 11, "before": 0, "after": -11}.get(kind, 0)
            parts.append(_interval(kind, mark, row.slot % 8, across, y))
    words = "; ".join(
        f"{row.name}: " + ", ".join(f"{kind} {number(mark.mean)}" for kind, mark in row.marks) for row in rows
    )
    return Markup(
        f'<svg class="chart wide" viewBox="0 0 900 {height}" role="img"'
        f' aria-label="{escape(title)}: {escape(words)}">' + "".join(parts) + "</svg>"
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that enclose ``[low, high]``, some ``about`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("an axis needs finite bounds")
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(abs(low), 1e-3), high + 0.5 * max(abs(high), 1e-3)
    rough = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def number(value: float) -> str:
    """Three significant digits, without exponents or trailing zeros where they can be had."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


class _scale:  # noqa: N801 - reads as the function that it is
    """A linear map from data to the drawing's units."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._span = low, (high - low) or 1.0
        self._start, self._length = start, end - start

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) / self._span * self._length


def _horizontal_grid(y_ticks: Sequence[float], up: _scale) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{number(tick)}</text>'
        for tick in y_ticks
    )


def _x_axis(x_ticks: Sequence[float], across: _scale, label: str) -> str:
    marks = "".join(
        f'<text class="tick" x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">'
        f"{number(tick)}</text>"
        for tick in x_ticks
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        marks
        + f'<text class="tick" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>'
    )


def _interval(kind: str, mark: Interval, slot: int, across: _scale, y: float) -> str:
    x = across(mark.mean)
    tip = f"{kind}: {number(mark.mean)}, interval {number(mark.low)} to {number(mark.high)}"
    whisker = f'<line x1="{across(mark.low):.1f}" x2="{across(mark.high):.1f}" y1="{y}" y2="{y}"/>'
    cross = f'<path d="M{x - 4:.1f},{y - 4} l8,8 m0,-8 l-8,8"/>'
    shape = cross if kind == "wrong" else f'<circle cx="{x:.1f}" cy="{y}" r="5.2"/>'
    return f'<g class="mark {kind} s{slot}"><title>{tip}</title>{whisker}{shape}</g>'
