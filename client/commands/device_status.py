"""How a device's status is shown: a live table in a terminal, a line a change elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared_models import console
from shared_models.config import UNPROTECTED
from shared_models.shown_epsilon import epsilon_shown
from shared_models.shown_text import shown

Draw = Callable[[Mapping[str, Any]], None]


def show(home: Path, as_json: bool) -> None:
    """Print the status once. Raises :class:`EnrolmentError` where there is no device."""
    from client.live.home import Membership

    Membership.load(home)
    try:
        status = json.loads((home / "status.json").read_text())
    except (OSError, ValueError):
        status = {"state": "never started"}
    if status.get("state") not in ("stopped", "never started") and time.time() - status.get("at", 0) > 120:
        status["state"] = "not running"
    if as_json:
        console.print_json(status)
    else:
        console.output().print(table(status))


@contextmanager
def live(as_json: bool) -> Iterator[Draw]:
    """A callback that shows each new status: a table that is redrawn, or a line where something changed."""
    terminal = console.notices()
    if not terminal.is_terminal or as_json:
        yield _Lines(as_json)
        return
    from rich.live import Live

    with Live(console=terminal, refresh_per_second=2) as shown:
        yield lambda status: shown.update(table(status))


class _Lines:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._last: tuple[Any, ...] = ()

    def __call__(self, status: Mapping[str, Any]) -> None:
        """Print a line if something that a person would notice is new."""
        kept = ("state", "last_round", "problem", "refusal", "refused_at", "updated_at", "paused")
        now = tuple(status.get(key) for key in kept)
        if now == self._last:
            return
        self._last = now
        if self._as_json:
            sys.stdout.write(json.dumps(dict(status)) + "\n")
            sys.stdout.flush()
        else:
            console.notices().print(shown("  ".join(_line(status))), highlight=False, soft_wrap=True)


def table(status: Mapping[str, Any]) -> Any:
    """The status as a table of what matters to the device's owner."""
    from rich.table import Table

    grid = Table(
        show_header=False, title=f"FedVoice device {shown(status.get('name', ''))}", title_justify="left"
    )
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for label, value in _rows(status):
        grid.add_row(label, shown(value))
    return grid


def _rows(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "state", str(status.get("state", "unknown"))
    if server := status.get("server"):
        yield "federation", f"{status.get('federation')} at {server}, as device {status.get('member')}"
    if "last_round" in status:
        yield "last round", str(status["last_round"])
        yield (
            "sent in it",
            f"an update of the shared set: {status.get('update_numbers', 0):,} numbers in "
            f"{_size(status.get('update_bytes', 0))}",
        )
    yield "not sent", "recordings, texts, your voice's own numbers, losses"
    yield "traffic", f"{_size(status.get('sent', 0))} sent, {_size(status.get('received', 0))} received"
    if status.get("protection") == UNPROTECTED:
        yield (
            "privacy",
            f"{UNPROTECTED}: updates were sent without noise, and no epsilon bounds what they tell",
        )
    if status.get("epsilon") is not None:
        left = status.get("epsilon_left")
        # Rounded down, as what was spent is rounded up.
        budget = f", {math.floor(100 * left) / 100:g} left" if isinstance(left, int | float) else ""
        yield (
            "privacy spent",
            f"epsilon {epsilon_shown(status['epsilon'])} at delta {status.get('delta', 0):g}{budget}",
        )
        if status.get("epsilon_without_sampling") is not None:
            yield (
                "without trust in the server's sampling",
                f"epsilon {epsilon_shown(status['epsilon_without_sampling'])}: every answer at its full cost, which is "
                "what a server that knows who was drawn could know",
            )
    if status.get("stopped"):
        yield "stopped", str(status["stopped"])
    for label, key in (("paused", "paused"), ("last refusal", "refusal"), ("problem", "problem")):
        if status.get(key):
            yield label, str(status[key])


def _line(status: Mapping[str, Any]) -> Iterator[str]:
    yield time.strftime("%H:%M:%S")
    yield str(status.get("state", "unknown"))
    if "last_round" in status:
        yield f"round {status['last_round']}: {_size(status.get('update_bytes', 0))} of update sent"
    if status.get("protection") == UNPROTECTED:
        yield UNPROTECTED
    if status.get("epsilon") is not None:
        beside = status.get("epsilon_without_sampling")
        yield f"epsilon {epsilon_shown(status['epsilon'])}" + (
            "" if beside is None else f" ({epsilon_shown(beside)} without sampling)"
        )
    for key in ("paused", "refusal", "problem"):
        if status.get(key):
            yield f"{key}: {status[key]}"


def _size(count: Any) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
