"""Cloning judged honestly: clones of unseen speakers beside the people, their copies, and voices that are not theirs.

Two verifiers that had no part in training compare every clip with the speaker's other recordings. A recogniser
writes down what it hears, Distill-MOS says how natural it sounds, and the recordings of the same sentences say how
fast the speaker speaks and how much the voice moves. Bases are judged side by side on the same people.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_models.audio.similarity import Embedding
from shared_models.file_names import file_name_of
from simulations.benchmarks import cloning_work as work
from simulations.benchmarks.cloning_bases import labels_of
from simulations.benchmarks.cloning_material import Material, Person
from simulations.benchmarks.cloning_work import ADAPTED, REAL, ZERO_SHOT, Clones, Copies, Piece, Recordings
from simulations.evaluation.bootstrap import Estimate, bootstrap_mean, bootstrap_of
from simulations.evaluation.spectrograms import draw, load_spectrograms
from simulations.evaluation.verification import Trials, equal_error_rate, trials
from simulations.parallel import in_processes

SECOND, FIRST = "campplus", "resemblyzer"
"""The verifiers: CAM++, by which people are identified, and GE2E."""
SHOWN = 4
"""People in the figure."""
Stage = Callable[[str], Callable[[int, int], None]]
Speakers = Mapping[str, work.Figures]
"""Stored figures of one maker by person."""


@dataclass(frozen=True, slots=True)
class Column:
    """One way of making clips: of a person, of a vocoder, or of a base."""

    base: str | None
    way: str
    metrics: dict[str, Estimate]
    """Over all people."""
    corpora: dict[str, dict[str, Estimate]]
    """Over the people of each corpus, identified among all."""
    speakers: dict[str, dict[str, float]]
    """Each person's own figures."""

    @property
    def name(self) -> str:
        """The base, if any, and the way."""
        return f"{self.base}: {self.way}" if self.base is not None else self.way


@dataclass(frozen=True, slots=True)
class CloningBench:
    """All columns, the recordings first."""

    columns: list[Column]
    material: Material
    pieces: dict[str, dict[str, Piece]]
    """By maker and person: where clips and spectrograms are."""
    load_average: list[float]


def measure_cloning(
    bases: Sequence[Clones],
    material: Material,
    setting: work.Setting,
    *,
    workers: int = 1,
    stage: Stage = lambda _: lambda _done, _total: None,
) -> CloningBench:
    """Judge every base's clones of all people; what is stored in ``setting.folder`` is not computed again.

    Raises :class:`MissingExtraError` for a judge that is not installed and :class:`CorpusError` where nobody can be
    adapted.
    """
    work.load_everything()
    load = [os.getloadavg()[0]]
    makers: list[work.Maker] = [Recordings(), *_copies(bases), *bases]
    pieces = {m.name: {p.name: Piece(m, p, setting) for p in material.people} for m in makers}
    found: dict[str, Speakers] = {}
    with in_processes(workers) as each:
        for maker in makers:
            advance, heard = stage(maker.name), {}
            todo = pieces[maker.name]
            for number, (name, figures) in enumerate(
                zip(todo, each(work.judge, todo.values()), strict=True), start=1
            ):
                heard[name] = figures
                advance(number, len(todo))
            found[maker.name] = heard
    columns = [
        column_of(maker, way, found[maker.name], found[REAL], material.people)
        for maker in makers
        for way in next(iter(found[maker.name].values()))["ways"]
    ]
    return CloningBench(columns, material, pieces, [*load, os.getloadavg()[0]])


def as_json(bench: CloningBench) -> dict[str, Any]:
    """Plain data."""
    columns = [
        {
            "name": column.name, "base": column.base, "way": column.way, "metrics": _plain(column.metrics),
            "corpora": {name: _plain(metrics) for name, metrics in column.corpora.items()},
            "speakers": column.speakers,
        }
        for column in bench.columns
    ]  # fmt: skip
    people = [
        {"name": p.name, "corpus": p.corpus, "support": len(p.support), "sentences": [u.text for u in p.query],
         "others": len(p.others)}
        for p in bench.material.people
    ]  # fmt: skip
    bases = {
        m.name: {"weights": m.base, "vocoder": work.vocoder_digest(m.vocoder)}
        for m in (next(iter(pieces.values())).maker for pieces in bench.pieces.values())
        if isinstance(m, Clones)
    }
    return {
        "columns": columns, "bases": bases, "people": people, "left_out": list(bench.material.left_out),
        "load_average": bench.load_average,
    }  # fmt: skip


def copy_clips(bench: CloningBench, folder: Path) -> int:
    """Put the first clip of every way of every person into ``folder``, clones with the mark in them; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for piece, way in _kept(bench):
        base = f"{file_name_of(piece.maker.name)}-" if piece.maker.marked else ""
        target = folder / f"{file_name_of(piece.person.name)}-{base}{file_name_of(way)}.wav"
        shutil.copyfile(work.clip_of(piece, way), target)
        count += 1
    return count


def draw_clones(bench: CloningBench, path: Path) -> None:
    """The first people's spectrograms beside those of their clones, adapted and, for a single base, zero-shot."""
    bases = [name for name, pieces in bench.pieces.items() if _marks(pieces)]
    wanted = [
        (name, way) for name in bases for way in (ZERO_SHOT, ADAPTED) if way == ADAPTED or len(bases) == 1
    ]
    rows = []
    for person in bench.material.people[:SHOWN]:
        pictures = [
            ("the person", load_spectrograms(work.spectrograms_of(bench.pieces[REAL][person.name]))[REAL])
        ]
        for base, way in wanted:
            kept = load_spectrograms(work.spectrograms_of(bench.pieces[base][person.name]))
            pictures.append((way if len(bases) == 1 else f"{base}: {way}", kept[way]))
        rows.append((person.name, pictures))
    draw(path, rows)


def _kept(bench: CloningBench) -> Iterator[tuple[Piece, str]]:
    for pieces in bench.pieces.values():
        for piece in pieces.values():
            if piece.maker.kept:
                for way in work.judge(piece)["ways"]:
                    yield piece, way


def _marks(pieces: Mapping[str, Piece]) -> bool:
    return next(iter(pieces.values())).maker.marked


def _copies(bases: Sequence[Clones]) -> list[Copies]:
    """One for each vocoder among the bases'."""
    vocoders = list(dict.fromkeys(base.vocoder for base in bases))
    if len(vocoders) == 1:
        return [Copies(work.COPIED, vocoders[0])]
    return [
        Copies(f"{work.COPIED}, {label}", v) for label, v in zip(labels_of(vocoders), vocoders, strict=True)
    ]


def column_of(
    maker: work.Maker, way: str, heard: Speakers, real: Speakers, people: Sequence[Person]
) -> Column:
    """All figures of one way, from what was stored of its clips (``heard``) and of the people (``real``)."""
    gallery = {
        verifier: {name: np.asarray(own["voice"][verifier], dtype=np.float32) for name, own in real.items()}
        for verifier in (SECOND, FIRST)
    }
    tried = {
        verifier: {
            name: trials(_vectors(own["ways"][way]["embeddings"][verifier]), voices, name)
            for name, own in heard.items()
        }
        for verifier, voices in gallery.items()
    }
    speakers = {
        name: _figures(own["ways"][way], real[name]["ways"][REAL])
        | {
            SECOND: tried[SECOND][name].likeness, FIRST: tried[FIRST][name].likeness,
            "identified": tried[SECOND][name].identified,
        }
        for name, own in heard.items()
    }  # fmt: skip
    by_corpus = {
        corpus: [p.name for p in people if p.corpus == corpus]
        for corpus in dict.fromkeys(p.corpus for p in people)
    }
    return Column(
        maker.name if isinstance(maker, Clones) else None,
        way,
        _summary(speakers, tried[SECOND]),
        {
            corpus: _summary({n: speakers[n] for n in names}, {n: tried[SECOND][n] for n in names})
            for corpus, names in by_corpus.items()
        },
        speakers,
    )


def _figures(clips: Mapping[str, Any], real: Mapping[str, Any]) -> dict[str, float]:
    return {
        "wer": clips["wer"],
        "distillmos": clips["distillmos"],
        # Of the same sentences: twice as fast in half the time.
        "rate": float(np.sum(real["seconds"]) / np.sum(clips["seconds"])),
        "f0_spread": clips["f0_spread"] / real["f0_spread"],
    }


def _summary(speakers: Mapping[str, Mapping[str, float]], tried: Mapping[str, Trials]) -> dict[str, Estimate]:
    names = list(next(iter(speakers.values())))
    means = {name: bootstrap_mean([own[name] for own in speakers.values()]) for name in names}
    return means | {"eer": bootstrap_of(list(tried.values()), equal_error_rate)}


def _vectors(stored: Sequence[Sequence[float] | None]) -> list[Embedding | None]:
    return [None if vector is None else np.asarray(vector, dtype=np.float32) for vector in stored]


def _plain(metrics: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in metrics.items()}
