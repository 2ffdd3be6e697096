"""A device that declined repeats its answer without fetching the question.

A question holds the whole weights: some twelve megabytes for the packaged model. A device that declines, or whose disk
is full, would fetch them each time and give the same answer. After a few refusals in a row it answers from the
question's envelope alone, with its last reason, for a pause that doubles up to a ceiling. Then it reads one whole
question again. The pause ends early when the policy changes, when another run begins, or when the device restarts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shared_models.refusals import Refusal, Refused

IN_FULL = 2
"""Refusals in a row that are given after looking at the whole question."""
FIRST_SECONDS = 30.0
MOST_SECONDS = 900.0


@dataclass(slots=True)
class Restraint:
    """What this device answered lately, and whether the next question is worth fetching."""

    policy: Path
    """The owner's policy, whose change makes every earlier refusal void."""
    clock: Callable[[], float] = time.monotonic
    in_a_row: int = 0
    _run: int | None = None
    _words: str = ""
    _until: float = 0.0
    _read_at: float = field(default=0.0)

    def answered(self, run: int, refusal: str | None) -> None:
        """A question of Flower's ``run`` was answered: with an update, or with these words."""
        if run != self._run:
            self._run, self.in_a_row = run, 0
        # Weights that the device lacks come with the next question.
        if refusal is None or Refused.parse(refusal).kind is Refusal.LACKS_ANCHOR:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        self._words, self._read_at = refusal, _changed_at(self.policy)
        beyond = self.in_a_row - IN_FULL
        if beyond >= 0:
            self._until = self.clock() + min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(beyond, 32))

    def words(self, run: int) -> str | None:
        """What to answer a question of ``run`` without looking; None if it should be fetched."""
        if run != self._run or self.in_a_row < IN_FULL or self.clock() >= self._until:
            return None
        if _changed_at(self.policy) != self._read_at:
            self.in_a_row = 0
            return None
        return self._words


def _changed_at(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
