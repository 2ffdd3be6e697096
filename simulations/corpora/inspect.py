"""Looks at every file of a corpus: who speaks, how long, at which rates, and what is wrong with what.

``left out`` problems take a recording out of a run; ``note`` ones (clipping, an offset, a word that no front end says)
do not. What counts as usable is decided by the functions that a run decides it by.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.home.recordings import Problem
from shared_models.audio.decoding import Decoded, decode
from shared_models.audio.extraction import LONGEST_SECONDS, require_usable
from shared_models.audio.reading import OVERSHOOT, one_channel
from shared_models.config import CorpusConfig, FeatureConfig
from shared_models.errors import AudioError
from shared_models.utterance import Utterance
from simulations.corpora import choose, find_corpus
from simulations.corpora.limits import problem_of

CLIPPED_RUN = 3
"""So many neighbouring samples at full scale are clipping, not a peak."""
_FULL_SCALE = 32767 / 32768
_LOSSLESS = (".wav", ".flac", ".wave", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64", ".rf64")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one file."""

    path: Path
    kind: str
    """In a word, such as ``unreadable``, ``silent``, ``no text``, ``clipped`` or ``duplicate``."""
    detail: str
    left_out: bool
    """Whether a run leaves the recording out for it."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a corpus holds."""

    root: Path
    usable: tuple[Utterance, ...]
    """Measured, with split and role; nothing that a run would leave out."""
    rates: dict[int, int]
    """Files by sample rate (Hz)."""
    findings: tuple[Finding, ...]

    @property
    def hours(self) -> float:
        """Of usable audio."""
        return sum(u.seconds or 0.0 for u in self.usable) / 3600


@dataclass(frozen=True, slots=True)
class _Heard:
    """What listening to one file showed."""

    problem: Problem | None
    """Why a run leaves it out."""
    rate: int | None = None
    digest: str = ""
    notes: tuple[Finding, ...] = ()


def inspect(
    path: str,
    config: CorpusConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
    features: FeatureConfig | None = None,
) -> Inspection:
    """Read every recording of the corpus at ``path`` ('embedded', a folder or a CSV) from end to end.

    Lengths are held against ``config``. Raises :class:`CorpusError` for a path without a corpus; anything
    that is wrong with one file is a :class:`Finding`.
    """
    config = (config or CorpusConfig()).model_copy(update={"path": path})
    settings = features or FeatureConfig()
    root, found = find_corpus(config)
    chosen, problems = choose(found, config)
    read = {utterance.utterance_id for utterance in chosen}
    findings = [_of_problem(problem) for problem in (*found.problems, *problems)]
    unusable, rates, twins = set[str](), Counter[int](), defaultdict[str, list[Path]](list)
    with ThreadPoolExecutor(max_workers=4) as threads:
        looks = threads.map(lambda u: _listen(u, settings, u.utterance_id in read), found.utterances)
        for done, (utterance, heard) in enumerate(zip(found.utterances, looks, strict=True), start=1):
            if heard.rate is not None:
                rates[heard.rate] += 1
                twins[heard.digest].append(utterance.audio)
            if heard.problem is not None:
                unusable.add(utterance.utterance_id)
                findings.append(_of_problem(heard.problem))
            findings.extend(heard.notes)
            if progress:
                progress(done, len(found.utterances))
    findings.extend(f for paths in twins.values() for f in _duplicates(paths))
    usable = tuple(u for u in chosen if u.utterance_id not in unusable)
    findings.sort(key=lambda f: (not f.left_out, str(f.path)))
    return Inspection(root, usable, dict(sorted(rates.items())), tuple(findings))


def _listen(utterance: Utterance, settings: FeatureConfig, read: bool) -> _Heard:
    """One file as a run would take it, or only what can be said of it where a run does not ``read`` it."""
    try:
        decoded = decode(utterance.audio, LONGEST_SECONDS)
    except AudioError as error:
        return _Heard(problem_of(utterance, error) if read else None)
    notes = _notes(utterance.audio, decoded)
    digest = hashlib.sha256(decoded.samples.tobytes()).hexdigest()
    problem = None
    try:
        recording = one_channel(decoded, utterance.audio)
        if read:
            mended = require_usable(utterance, settings, recording).notes(utterance)
            notes += [Finding(utterance.audio, kind, said, left_out=False) for kind, said in mended]
    except AudioError as error:
        problem = problem_of(utterance, error) if read else None
    return _Heard(problem, decoded.rate, digest, tuple(notes))


def _notes(path: Path, decoded: Decoded) -> list[Finding]:
    notes = []
    level = np.abs(decoded.samples).max(axis=1)
    ceiling = _FULL_SCALE if path.suffix.lower() in _LOSSLESS else 1.0
    if clipped := _clipped(level >= ceiling, level):
        notes.append(Finding(path, "clipped", f"{clipped} samples in runs at full scale", left_out=False))
    if (channels := decoded.samples.shape[1]) > 1:
        notes.append(Finding(path, "channels", f"{channels} channels, which are averaged", left_out=False))
    return notes


def _clipped(full: NDArray[np.bool_], level: NDArray[np.float32]) -> int:
    """Samples in runs of at least three at full scale, ``(samples,)`` both; none where full scale is not 1."""
    if not full.any() or float(level.max()) > OVERSHOOT:
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], full, [False]])))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= CLIPPED_RUN].sum())


def _duplicates(paths: Sequence[Path]) -> list[Finding]:
    return [Finding(p, "duplicate", f"the same audio as {paths[0].name}", left_out=False) for p in paths[1:]]


def _of_problem(problem: Problem) -> Finding:
    return Finding(
        problem.path, problem.kind, problem.reason.removeprefix(f"{problem.kind}: "), left_out=True
    )
