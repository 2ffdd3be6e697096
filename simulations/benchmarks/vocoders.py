"""Vocoders side by side: what each loses in copy synthesis, and how fast it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from shared_models.audio.extraction import SHORTEST_SECONDS
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.audio.reading import Wave, write_audio
from shared_models.config import CorpusConfig, FeatureConfig
from shared_models.errors import CorpusError, RecipeError
from shared_models.utterance import Utterance
from shared_models.vocoders import Vocoder, build_vocoder
from simulations.benchmarks.threads import torch_threads
from simulations.corpora import open_corpus
from simulations.corpora.limits import spread
from simulations.evaluation import copy_synthesis as copying
from simulations.evaluation.bootstrap import Estimate

REAL = "real"
"""The name of the anchor: the recordings themselves."""
THREADS = (1, 2)
_LONGEST = 60.0
_TIMED = 4
"""Recordings that speed is measured on, each of another speaker."""
Stage = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One vocoder."""

    name: str
    figures: dict[str, copying.Figures]
    """By speaker."""
    real_time_factors: dict[int, float]
    """Seconds of work a second of sound, by threads; empty for the anchor."""

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Means over speakers with their intervals."""
        return copying.summarise(self.figures)


@dataclass(frozen=True, slots=True)
class VocoderBench:
    """All rows, the anchor first."""

    rows: list[Row]
    speakers: int
    recordings: int
    load_average: list[float]
    """Before and after, over one minute: on a busy machine the real-time factors say little."""


def unseen_recordings(
    corpus: str, *, speakers: int | None = None, utterances: int | None = None
) -> dict[str, list[Utterance]]:
    """The test speakers' query recordings, so many a speaker, evenly spread. Raises :class:`CorpusError`."""
    # Limits on length are for training; what is measured is every recording.
    config = CorpusConfig(
        path=corpus, test_speakers=speakers, min_seconds=SHORTEST_SECONDS, max_seconds=_LONGEST
    )
    found = open_corpus(config).speakers("test")
    queries = {speaker: [u for u in own if u.role == "query"] for speaker, own in found.items()}
    chosen = {speaker: spread(own, utterances) for speaker, own in queries.items() if own}
    if not chosen:
        raise CorpusError(
            f"the corpus {corpus} has no unseen speaker: mark whole speakers as test in its table (split = test)"
        )
    return chosen


def measure_vocoders(
    names: Sequence[str],
    recordings: Mapping[str, Sequence[Utterance]],
    *,
    judges: copying.Judges | None = None,
    threads: Sequence[int] = THREADS,
    audio: Path | None = None,
    stage: Stage | None = None,
) -> VocoderBench:
    """Copy ``recordings`` through every vocoder, a name or a saved file, and judge the copies.

    ``audio`` is a folder for the copies. Raises :class:`RecipeError` for an unknown name,
    :class:`CheckpointError` for a damaged file and :class:`MissingExtraError` for a judge not installed.
    """
    stage = stage or (lambda _: lambda _done, _total: None)
    vocoders = {label: build_vocoder(name) for label, name in _labels(names).items()}
    judges = judges or copying.load_judges()
    load = [os.getloadavg()[0]]
    originals = copying.load_originals(recordings, FeatureConfig(), stage("recordings"))
    copies = {REAL: copying.itself} | {name: copying.through(v) for name, v in vocoders.items()}
    timed = [own[0] for own in islice(originals.values(), _TIMED)]
    rows = []
    for name, copy in copies.items():
        figures = copying.judge_copies(
            copy, originals, judges, on_copy=_keeper(audio, name), progress=stage(name)
        )
        speed = {n: real_time_factor(vocoders[name], timed, n) for n in threads if name in vocoders}
        rows.append(Row(name, figures, speed))
    count = sum(len(own) for own in originals.values())
    return VocoderBench(rows, len(originals), count, [*load, os.getloadavg()[0]])


@torch.no_grad()
def real_time_factor(vocoder: Vocoder, originals: Sequence[copying.Original], threads: int) -> float:
    """Seconds of work a second of sound, after one copy that does not count."""
    with torch_threads(threads):
        vocoder(originals[0].mel)
        started = time.perf_counter()
        for original in originals:
            vocoder(original.mel)
        taken = time.perf_counter() - started
    return taken / (sum(len(original.mel) for original in originals) * HOP / SAMPLE_RATE)


def as_json(bench: VocoderBench) -> dict[str, Any]:
    """Plain data. ``over`` has the differences to the first vocoder, speaker by speaker, with intervals."""
    baseline = bench.rows[1] if len(bench.rows) > 1 else bench.rows[0]
    rows = {
        row.name: {
            "metrics": _plain(row.estimates),
            "over": {baseline.name: _plain(copying.gain(row.figures, baseline.figures))},
            "real_time_factor": {str(n): factor for n, factor in row.real_time_factors.items()},
            "speakers": row.figures,
        }
        for row in bench.rows
    }
    return {
        "vocoders": rows, "speakers": bench.speakers, "recordings": bench.recordings,
        "load_average": bench.load_average,
    }  # fmt: skip


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def _labels(names: Sequence[str]) -> dict[str, str]:
    """What rows are called: a file's name without folder and suffix, unless two files share it."""
    stems = [Path(name).stem if Path(name).suffix else name for name in names]
    labels = {stem if stems.count(stem) == 1 else name: name for stem, name in zip(stems, names, strict=True)}
    if len(labels) < len(names) or REAL in labels:
        raise RecipeError(
            f"each vocoder may be named once, and none may be called '{REAL}': {', '.join(names)}"
        )
    return labels


def _keeper(folder: Path | None, name: str) -> Callable[[copying.Original, Wave], None] | None:
    if folder is None:
        return None

    def keep(original: copying.Original, wave: Wave) -> None:
        label = f"{original.utterance_id}-{name}".replace("/", "_")
        write_audio(folder / f"{label}.wav", wave, SAMPLE_RATE)

    return keep
