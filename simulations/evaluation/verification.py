"""Whether a clip passes for a person: likeness to that person's voice beside likeness to everybody else's.

A *gallery* has one voice a person, the centroid of recordings that nothing was cloned from and nothing is compared
with otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_models.audio.similarity import Embedding
from simulations.evaluation.bootstrap import Estimate, bootstrap_of

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trials:
    """One speaker's clips against the gallery."""

    own: Scores
    """``(clips,)`` cosines to the speaker's own voice."""
    others: Scores
    """``(clips, people - 1)`` cosines to everybody else's."""

    @property
    def likeness(self) -> float:
        """Mean cosine to the own voice."""
        return float(self.own.mean())

    @property
    def identified(self) -> float:
        """Share of the clips that are nearer to the own voice than to any other; NaN where there is no other."""
        if self.others.shape[1] == 0:
            return float("nan")
        return float((self.own > self.others.max(axis=1)).mean())


def trials(clips: Sequence[Embedding | None], gallery: Mapping[str, Embedding], speaker: str) -> Trials:
    """Cosines of ``speaker``'s ``clips``, unit vectors ``(E,)``, to the unit vectors of the gallery.

    A clip without a voice, None, resembles nobody: 0.
    """
    others = [voice for name, voice in gallery.items() if name != speaker]
    vectors = np.stack([np.zeros_like(gallery[speaker]) if clip is None else clip for clip in clips])
    across = vectors @ np.stack([gallery[speaker], *others]).T
    return Trials(across[:, 0].astype(np.float64), across[:, 1:].astype(np.float64))


def equal_error_rate(speakers: Sequence[Trials]) -> float:
    """Where as many of the own clips are refused as of the others' voices are taken for the own.

    At a threshold, refused are the own below it, and accepted the others from it on. Of all thresholds that one
    counts at which both shares are closest, and their mean is the rate. NaN without others.
    """
    own = np.concatenate([trial.own for trial in speakers])
    others = np.concatenate([trial.others.ravel() for trial in speakers])
    if not len(own) or not len(others):
        return float("nan")
    thresholds = np.unique(np.concatenate([own, others, [np.inf]]))
    refused = np.searchsorted(np.sort(own), thresholds, side="left") / len(own)
    accepted = 1 - np.searchsorted(np.sort(others), thresholds, side="left") / len(others)
    best = int(np.abs(refused - accepted).argmin())
    return float((refused[best] + accepted[best]) / 2)


def all_pairs(embeddings: Mapping[str, NDArray[np.float32]]) -> Trials:
    """Cosines of all pairs of utterances, of one speaker and of two; of each speaker unit rows ``(n, E)``."""
    rows = np.concatenate(list(embeddings.values())).astype(np.float64)
    whose = np.repeat(np.arange(len(embeddings)), [len(own) for own in embeddings.values()])
    first, second = np.triu_indices(len(rows), k=1)
    cosines = (rows @ rows.T)[first, second]
    same = whose[first] == whose[second]
    return Trials(cosines[same], cosines[~same][:, None])


def trials_of_each(embeddings: Mapping[str, NDArray[np.float32]]) -> dict[str, Trials]:
    """The same pairs by speaker: those of the speaker's own utterances, and of each with everybody else's.

    A pair of two speakers is one of either's, so that the rate over all is :func:`all_pairs`'s.
    """
    found = {}
    for name, own in embeddings.items():
        rows = own.astype(np.float64)
        others = np.concatenate([e for other, e in embeddings.items() if other != name]).astype(np.float64)
        first, second = np.triu_indices(len(rows), k=1)
        found[name] = Trials((rows @ rows.T)[first, second], rows @ others.T)
    return found


def rate_of(trials_by_speaker: Mapping[str, Trials]) -> Estimate:
    """The equal error rate over all speakers' trials, resampled by speakers."""
    return bootstrap_of(list(trials_by_speaker.values()), equal_error_rate)


def rate_difference(one: Mapping[str, Trials], other: Mapping[str, Trials]) -> Estimate:
    """The equal error rate of ``one`` less that of ``other``, on the speakers that both tried, resampled together."""
    sides = [(one[name], other[name]) for name in one if name in other]
    return bootstrap_of(sides, _rate_less)


def _rate_less(sides: Sequence[tuple[Trials, Trials]]) -> float:
    return equal_error_rate([own for own, _ in sides]) - equal_error_rate([other for _, other in sides])
