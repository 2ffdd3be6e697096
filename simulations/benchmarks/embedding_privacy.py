"""How much of a voice is left in a released speaker embedding: likeness to the person against epsilon.

A person's embedding is the mean over n recordings, as ``fedvoice embed`` makes it, and is compared with the centroid of
other recordings of the person and with those of everybody else. The unit is the utterance, so that noise falls with n.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.embed import Hearing
from client.embedding_release import EmbeddingTerms, mean_embedding, noised
from shared_models.audio.extraction import SHORTEST_SECONDS, load_speech
from shared_models.config import CorpusConfig, FeatureConfig
from shared_models.errors import AudioError, CorpusError
from shared_models.files import write_atomically
from shared_models.seeds import generator
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus
from simulations.evaluation.bootstrap import Estimate, bootstrap_mean
from simulations.extra import require

_LONGEST = 60.0
Heard = Mapping[str, Tensor]
"""By person, the embeddings ``(m, E)`` of m recordings."""


@dataclass(frozen=True, slots=True)
class Point:
    """Releases of so many recordings at one epsilon."""

    utterances: int
    epsilon: float | None
    """None for the mean without noise."""
    likeness: Estimate
    """Cosine to the person's own voice, over people."""
    identified: Estimate
    """Share of releases that are nearer to the person than to anybody else."""


@dataclass(frozen=True, slots=True)
class EmbeddingPrivacy:
    """The curves, and what they are seen against."""

    points: list[Point]
    people: int
    strangers: Estimate
    """Cosine of the mean without noise to everybody else's voice."""
    delta: float
    draws: int
    left_out: list[str]
    load_average: list[float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def hear_people(
    corpus: str,
    hearing: Hearing,
    counts: Sequence[int],
    *,
    others: int,
    speakers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Heard, list[str]]:
    """Embeddings of those who have most recordings, at most ``speakers`` people, and why recordings are left out.

    Of each as many as the largest of ``counts`` that the person has recordings for needs, and ``others``. Raises
    :class:`CorpusError` where fewer than two people have enough for the least of them.
    """
    config = CorpusConfig(path=corpus, min_seconds=SHORTEST_SECONDS, max_seconds=_LONGEST)
    own: dict[str, list[Utterance]] = {}
    for utterance in open_corpus(config).utterances:
        own.setdefault(utterance.speaker_id, []).append(utterance)
    enough = {name: n for name, u in own.items() if (n := _used(len(u), counts, others))}
    chosen = sorted(enough, key=lambda name: (-enough[name], name))[:speakers]
    if len(chosen) < 2:
        raise CorpusError(
            f"{corpus} has {len(chosen)} speaker(s) with {min(counts) + others} recordings, and two at least are "
            "compared: ask for fewer utterances"
        )
    work = [(name, utterance) for name in chosen for utterance in own[name][: enough[name]]]
    heard: dict[str, list[Tensor]] = {}
    left_out = []
    for number, (name, utterance) in enumerate(work, start=1):
        try:
            vector = hearing.hear(load_speech(utterance.audio, FeatureConfig()).wave)
            heard.setdefault(name, []).append(vector)
        except AudioError as error:
            left_out.append(str(error))
        if progress is not None:
            progress(number, len(work))
    return {name: torch.stack(vectors) for name, vectors in heard.items()}, left_out


def measure(
    heard: Heard,
    norm: float,
    counts: Sequence[int],
    epsilons: Sequence[float],
    *,
    others: int,
    delta: float = 1e-5,
    draws: int = 20,
    seed: int = 20,
    left_out: Sequence[str] = (),
) -> EmbeddingPrivacy:
    """The curves of ``counts`` over ``epsilons``; ``norm`` is the clipping norm. Each release is drawn ``draws`` times.

    The last ``others`` embeddings of a person are the voice that releases are compared with.
    """
    load = [os.getloadavg()[0]]
    gallery = {name: _unit(vectors[-others:].double().mean(0)) for name, vectors in heard.items()}
    points = []
    for count in counts:
        people = {
            name: mean_embedding(v[:count], norm) for name, v in heard.items() if len(v) >= count + others
        }
        if not people:
            continue
        points.append(_point(count, None, {name: mean[None] for name, mean in people.items()}, gallery))
        for epsilon in epsilons:
            terms = EmbeddingTerms(epsilon, delta, "utterance", norm)
            drawn = {
                name: torch.stack(
                    [
                        noised(mean, count, terms, generator(seed, "release", name, count, n))
                        for n in range(draws)
                    ]
                )
                for name, mean in people.items()
            }
            points.append(_point(count, epsilon, drawn, gallery))
    strangers = [
        float(np.delete(_cosines(mean_embedding(v[:-others], norm)[None], gallery)[0], place).mean())
        for place, v in enumerate(heard.values())
    ]
    return EmbeddingPrivacy(
        points,
        len(heard),
        bootstrap_mean(strangers),
        delta,
        draws,
        list(left_out),
        [*load, os.getloadavg()[0]],
    )


def draw(path: Path, found: EmbeddingPrivacy) -> None:
    """A curve for each number of recordings; dashed without noise, dotted what strangers are like.

    Raises :class:`MissingExtraError` without matplotlib, and StorageError.
    """
    require("a figure of likeness against epsilon", ("matplotlib",))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, count in enumerate(dict.fromkeys(point.utterances for point in found.points)):
        curve = [p for p in found.points if p.utterances == count and p.epsilon is not None]
        x = [p.epsilon for p in curve if p.epsilon is not None]
        y = [p.likeness.mean for p in curve]
        name = f"{count} utterances ({curve[0].likeness.count} people)" if curve else f"{count}"
        axes.plot(x, y, marker="o", color=f"C{place}", label=name)
        axes.fill_between(
            x, [p.likeness.low for p in curve], [p.likeness.high for p in curve], color=f"C{place}", alpha=0.2
        )
        exact = next(p for p in found.points if p.utterances == count and p.epsilon is None)
        axes.axhline(exact.likeness.mean, color=f"C{place}", linestyle="--", linewidth=0.8)
    axes.axhline(found.strangers.mean, color="0.4", linestyle=":", label="strangers, without noise")
    axes.set_xscale("log", base=2)
    axes.set_xlabel(f"epsilon of an utterance, at delta {found.delta:g}")
    axes.set_ylabel("cosine to the person's voice")
    axes.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


def _used(recordings: int, counts: Sequence[int], others: int) -> int:
    """How many of a person's recordings are heard: for the largest count that there are enough for; 0 for none."""
    return max((count + others for count in counts if recordings >= count + others), default=0)


def _point(count: int, epsilon: float | None, drawn: Heard, gallery: Mapping[str, Tensor]) -> Point:
    names = list(gallery)
    likeness, identified = [], []
    for name, releases in drawn.items():
        cosines, place = _cosines(releases, gallery), names.index(name)
        likeness.append(float(cosines[:, place].mean()))
        identified.append(float((cosines.argmax(1) == place).mean()))
    return Point(count, epsilon, bootstrap_mean(likeness), bootstrap_mean(identified))


def _cosines(vectors: Tensor, gallery: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """``(n, E)`` to ``(n, people)``."""
    units = torch.nn.functional.normalize(vectors.double(), dim=1)
    return np.asarray((units @ torch.stack(list(gallery.values())).T).numpy())


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / vector.norm()
    return unit
