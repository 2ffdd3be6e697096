"""What this device was asked and what it answered, run by run: ``<home>/answers.jsonl``, a file that only grows.

A line is on the disk before what it tells of can be noticed outside: a question is *admitted* before it is
trained, once it is paid for, and *answered* before its letter leaves. So a question that was admitted and not
answered may be trained again, since nothing of it was ever sent; one that was answered never is, whatever
became of its letter. The first line of a run pins its recipe.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.rounds.question import Question
from shared_models.config import Recipe
from shared_models.errors import PrivacyError
from shared_models.files import append_line, storage_problems

BEGAN, ADMITTED, ANSWERED, STOPPED = "began", "admitted", "answered", "stopped"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A question that this device agreed to answer."""

    round: int
    weights: str
    norms: tuple[float, ...]
    """Root mean square of each shared tensor of those weights, in the partition's order."""
    paid: bool
    """Whether the ledger has an entry for it (mode central)."""


@dataclass(slots=True)
class RunRecord:
    """All that is known of one run."""

    recipe: dict[str, Any] | None = None
    """As it was at the first answer."""
    population: int | None = None
    admitted: dict[str, Admitted] = field(default_factory=dict)
    """By the question's digest, in the order in which they came."""
    answered: set[str] = field(default_factory=set)
    stopped: str | None = None
    """Why nothing of this run is answered any more."""

    @property
    def last_answered(self) -> int:
        """The newest round that was answered; -1 if none."""
        return max((self.admitted[digest].round for digest in self.answered), default=-1)

    @property
    def rounds(self) -> list[int]:
        """The rounds that were admitted, each once, ascending."""
        return sorted({admitted.round for admitted in self.admitted.values()})

    def has_answered(self, question: Question) -> bool:
        """Whether the letter to this very question may have left."""
        return question.digest in self.answered

    def answered_these_weights(self, question: Question) -> bool:
        """Whether the question's round was answered on the question's weights, in whatever form."""
        return any(
            self.admitted[digest].round == question.round
            and self.admitted[digest].weights == question.weights
            for digest in self.answered
        )

    def before(self, round_number: int) -> tuple[int, tuple[float, ...]] | None:
        """The newest round below ``round_number`` that was admitted, and its weights' norms by tensor."""
        earlier = [(a.round, a.norms) for a in self.admitted.values() if a.round < round_number]
        return max(earlier, default=None)


class Answers:
    """The file. Raises :class:`StorageError` where it cannot be read or written, :class:`PrivacyError` if damaged."""

    def __init__(self, home: Path) -> None:
        self.path = home / "answers.jsonl"

    def of(self, run: str) -> RunRecord:
        """What is known of ``run``."""
        return self.all().get(_name(run), RunRecord())

    def all(self) -> dict[str, RunRecord]:
        """What is known of every run, by the digest of its name, in the order in which they began."""
        records: dict[str, RunRecord] = {}
        try:
            for line in self._lines():
                _learn(records.setdefault(str(line["run"]), RunRecord()), line)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PrivacyError(
                f"{self.path}, which remembers what this device answered, is damaged: put a backup in its place; "
                "nothing is sent without it"
            ) from None
        return records

    def begin(self, run: str, recipe: Recipe, population: int | None) -> None:
        """Pin a run's recipe, durably."""
        self._append(run, event=BEGAN, recipe=recipe.model_dump(mode="json"), population=population)

    def admit(self, question: Question, norms: Sequence[float], *, paid: bool) -> None:
        """Note, durably, that this question will be trained; its cost is in the ledger before."""
        self._append(
            question.run, event=ADMITTED, round=question.round, question=question.digest,
            weights=question.weights, norms=[float(f"{norm:.6g}") for norm in norms], paid=paid,
        )  # fmt: skip

    def answer(self, question: Question) -> None:
        """Note, durably, that the letter to this question is about to leave."""
        self._append(question.run, event=ANSWERED, question=question.digest)

    def stop(self, run: str, reason: str) -> None:
        """Answer nothing of this run any more."""
        self._append(run, event=STOPPED, reason=reason)

    def _append(self, run: str, **fields: Any) -> None:
        append_line(self.path, json.dumps({"run": _name(run), **fields, "at": round(time.time(), 3)}))

    def _lines(self) -> Iterator[dict[str, Any]]:
        with storage_problems(self.path):
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                return
        # What a crash tore has no end of line, and told of nothing that had happened.
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            yield json.loads(line)


def _name(run: str) -> str:
    # Hashed, as everywhere: a run's name comes from the server.
    return hashlib.sha256(run.encode()).hexdigest()


def _learn(record: RunRecord, line: dict[str, Any]) -> None:
    match line["event"]:
        case "began":
            record.recipe, record.population = dict(line["recipe"]), line["population"]
        case "admitted":
            norms = tuple(float(norm) for norm in line["norms"])
            admitted = Admitted(int(line["round"]), str(line["weights"]), norms, bool(line["paid"]))
            record.admitted.setdefault(str(line["question"]), admitted)
        case "answered":
            if line["question"] not in record.admitted:
                raise ValueError
            record.answered.add(str(line["question"]))
        case "stopped":
            record.stopped = str(line["reason"])
        case _:
            raise ValueError
