"""What the literature reports of these kinds of voices, and whether it is seen on this data.

An ordering is seen if the 95 % interval of the difference lies wholly on its side. Both sides are the same people, and
an interval is of their own differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from simulations.evaluation.bootstrap import Estimate
from simulations.evaluation.verification import rate_difference
from simulations.matrix.encoders import Tried
from simulations.matrix.recipes import Entry
from simulations.matrix.summary import Row, difference, likeness
from simulations.matrix.training import Trained

NEAR = 0.05
"""Cosine by which conditional norms may fall short of the whole model and count as near it."""
SMALL = 0.1
"""Share of the whole model's numbers that counts as small."""
FEW = range(5, 11)
"""Adaptation steps that the literature on meta-learning calls few."""
CLN, WHOLE = "adaspeech", "whole_model"


@dataclass(frozen=True, slots=True)
class Ordering:
    """One ordering and what was found."""

    claim: str
    seen: bool
    measured: str
    """What the difference is."""
    difference: Estimate

    def __str__(self) -> str:
        found = self.difference
        return (
            f"{self.claim}: {'seen' if self.seen else 'not seen'} ({self.measured} {found.mean:+.3f}, "
            f"95 % interval {found.low:+.3f} to {found.high:+.3f}, n = {found.count})"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "claim": self.claim, "seen": self.seen, "measured": self.measured,
            "difference": asdict(self.difference), "words": str(self),
        }  # fmt: skip


def orderings(
    entries: Sequence[Entry], trained: Mapping[str, Trained], rows: Sequence[Row], tried: Sequence[Tried]
) -> list[Ordering]:
    """All orderings of which both sides are there."""
    by_name = {(row.name, row.way): row for row in rows}
    return [*_of_encoders(tried), *_of_norms(trained, rows), *_of_meta_learning(entries, by_name)]


def _of_encoders(tried: Sequence[Tried]) -> Iterator[Ordering]:
    for better, worse in pairwise(tried):
        found = rate_difference(better.trials, worse.trials)
        yield Ordering(
            f"{better.kind} has a lower equal error rate than {worse.kind}",
            found.high < 0,
            f"rate of {better.kind} less that of {worse.kind}, on unseen speakers,",
            found,
        )


def _of_norms(trained: Mapping[str, Trained], rows: Sequence[Row]) -> Iterator[Ordering]:
    last = {row.name: row for row in rows}
    if not {CLN, WHOLE} <= last.keys() & trained.keys():
        return
    norms, whole = last[CLN], last[WHOLE]
    share = trained[CLN].numbers / trained[WHOLE].numbers
    metric = likeness(norms)
    found = difference(norms, whole, metric)
    yield Ordering(
        f"conditional norms ({CLN}) come within {NEAR} of the whole model ({WHOLE}) with {share:.2%} of its personal "
        "numbers",
        found.low > -NEAR and share <= SMALL,
        f"{metric} likeness of {CLN} less that of {WHOLE}, after {norms.way},",
        found,
    )


def _of_meta_learning(entries: Sequence[Entry], rows: Mapping[tuple[str, str], Row]) -> Iterator[Ordering]:
    few = [way for way in dict.fromkeys(way for _, way in rows) if _steps_of(way) in FEW]
    for entry in entries:
        for way in few:
            learnt, plain = rows.get((entry.name, way)), rows.get((entry.plain or "", way))
            if learnt is None or plain is None:
                continue
            metric = likeness(learnt)
            found = difference(learnt, plain, metric)
            yield Ordering(
                f"{entry.name} is ahead of plain training and adaptation after {way}",
                found.low > 0,
                f"{metric} likeness of {entry.name} less that of {entry.plain}",
                found,
            )


def _steps_of(way: str) -> int | None:
    number = way.partition(" ")[0]
    return int(number) if number.isdecimal() else None
