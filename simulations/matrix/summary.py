"""The rows of the matrix: what was stored of each recipe's clones, as means over people with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shared_models.audio.similarity import Embedding
from simulations.benchmarks.cloning_work import Figures
from simulations.evaluation.bootstrap import Estimate, bootstrap_mean
from simulations.evaluation.verification import trials
from simulations.matrix.judging import MEASURES

GE2E, CAMPPLUS = "resemblyzer", "campplus"
Speakers = Mapping[str, Figures]
"""Stored figures by person."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way of speaking."""

    name: str
    """The recipe, or what else speaks."""
    way: str
    metrics: dict[str, Estimate]
    """Over people."""
    speakers: dict[str, dict[str, float]]
    """Each person's own."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        metrics = {name: asdict(estimate) for name, estimate in self.metrics.items()}
        return {"name": self.name, "way": self.way, "metrics": metrics, "speakers": self.speakers}


def rows_of(name: str, heard: Speakers, real: Speakers) -> list[Row]:
    """A row for each way in which ``name`` speaks; ``real`` are the people's own recordings."""
    ways = next(iter(heard.values()))["ways"]
    return [_row(name, way, heard, real) for way in ways]


def difference(first: Row, second: Row, metric: str) -> Estimate:
    """The mean over people of the first's less the second's, each person with himself."""
    return bootstrap_mean(
        [own[metric] - second.speakers[name][metric] for name, own in first.speakers.items()]
    )


def likeness(row: Row) -> str:
    """The verifier that counts: CAM++ where it heard the clips, which flatters less, else GE2E."""
    return CAMPPLUS if CAMPPLUS in row.metrics else GE2E


def _row(name: str, way: str, heard: Speakers, real: Speakers) -> Row:
    speakers = {person: _figures(person, own, way, real) for person, own in heard.items()}
    names = list(next(iter(speakers.values())))
    metrics = {metric: bootstrap_mean([own[metric] for own in speakers.values()]) for metric in names}
    return Row(name, way, metrics, speakers)


def _figures(person: str, own: Figures, way: str, real: Speakers) -> dict[str, float]:
    found = {metric: float(own["ways"][way][metric]) for metric in MEASURES}
    for verifier in own["judges"]:
        gallery = {
            name: np.asarray(figures["voice"][verifier], dtype=np.float32) for name, figures in real.items()
        }
        tried = trials(_vectors(own["ways"][way]["embeddings"][verifier]), gallery, person)
        found[verifier] = tried.likeness
    if way in own["seconds"]:
        found["seconds"] = own["seconds"][way]
    return found


def _vectors(stored: Sequence[Sequence[float] | None]) -> list[Embedding | None]:
    return [None if vector is None else np.asarray(vector, dtype=np.float32) for vector in stored]
