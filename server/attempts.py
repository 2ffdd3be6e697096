"""The durable note of who was drawn for the round at hand, written before the first message of it.

A server that crashes in the middle of a round begins the round again with the *same* cohort. The devices keep their
last replies, so their work is not lost. The privacy accounting holds, because each round draws one cohort, however
often the server crashes. If the cohort were drawn again, the released one would depend on which cohorts the server
crashed with, and somebody who can crash the server could choose it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from shared_models.files import write_atomically

_NAME = "attempt.json"
FORMAT = "fedvoice-attempt-1"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of a round's messages."""

    run: str
    round: int
    number: int
    """1 for the first."""
    cohort: tuple[int, ...]
    """Members, online or not. As secret as the noise."""
    fruitless: int = 0
    """Without privacy: how many attempts at this round brought no usable update before."""


def begin_attempt(
    folder: Path,
    run: str,
    round_number: int,
    draw: Callable[[], list[int]],
    *,
    redraw: bool = False,
    fruitless: int = 0,
) -> Attempt:
    """Write down and return the next attempt at a round, with the cohort of the one before if there was one.

    ``redraw`` draws another all the same. Raises :class:`StorageError` where it cannot be written; no message
    may be sent then.
    """
    before = latest_attempt(folder, run)
    if before is not None and before.round == round_number:
        cohort = tuple(draw()) if redraw else before.cohort
        attempt = Attempt(run, round_number, before.number + 1, cohort, fruitless)
    else:
        attempt = Attempt(run, round_number, 1, tuple(draw()), fruitless)
    write_atomically(folder / _NAME, json.dumps({"format": FORMAT} | asdict(attempt)))
    return attempt


def latest_attempt(folder: Path, run: str) -> Attempt | None:
    """The last attempt of this run; None if there was none, or its note is unreadable.

    An unreadable note costs a new draw and nothing else: files are replaced whole, so this takes a failing
    disk or another program.
    """
    try:
        data = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if data["format"] != FORMAT or data["run"] != run:
            return None
        cohort = tuple(int(member) for member in data["cohort"])
        # Notes of before there was such a count have none.
        fruitless = int(data.get("fruitless", 0))
        return Attempt(run, int(data["round"]), int(data["number"]), cohort, fruitless)
    except (OSError, ValueError, KeyError, TypeError):
        return None
