"""Looks at every file of a corpus: who speaks, how long, at which rates, and what is wrong with what.

``left out`` problems take a recording out of a run; ``note`` ones (clipping, several channels) do not.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from client.home.recordings import Problem
from shared_models.audio.reading import SILENCE_PEAK
from shared_models.config import CorpusConfig
from shared_models.errors import TextError
from shared_models.text.phonemes import phonemize
from shared_models.utterance import Utterance
from simulations.corpora import find_corpus
from simulations.corpora.splits import give_roles, hold_out

Kind = Literal["unreadable", "silent", "clipped", "no text", "too short", "too long", "channels", "duplicate"]
LEFT_OUT: frozenset[Kind] = frozenset({"unreadable", "silent", "no text", "too short", "too long"})

CLIPPED_RUN = 3
"""So many neighbouring samples at full scale are clipping, not a peak."""
_FULL_SCALE = 32767 / 32768
_LOSSY = (".ogg", ".opus", ".mp3")
_BLOCK = 2**18


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one file."""

    path: Path
    kind: Kind
    detail: str

    @property
    def left_out(self) -> bool:
        """Whether a run leaves the recording out for it."""
        return self.kind in LEFT_OUT


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
    seconds: float
    rate: int
    channels: int
    peak: float
    clipped: int
    digest: str


def inspect(
    path: str, config: CorpusConfig | None = None, progress: Callable[[int, int], None] | None = None
) -> Inspection:
    """Read every recording of the corpus at ``path`` ('embedded', a folder or a CSV) from end to end.

    Lengths are held against ``config``. Raises :class:`CorpusError` for a path without a corpus; anything
    that is wrong with one file is a :class:`Finding`.
    """
    config = (config or CorpusConfig()).model_copy(update={"path": path})
    root, found = find_corpus(config)
    findings = [_of_problem(problem) for problem in found.problems]
    usable, rates, twins = [], Counter[int](), defaultdict[str, list[Path]](list)
    with ThreadPoolExecutor(max_workers=4) as threads:
        for done, heard in enumerate(threads.map(_listen, (u.audio for u in found.utterances)), start=1):
            utterance = found.utterances[done - 1]
            wrong = _judge(utterance, heard, config)
            if isinstance(heard, _Heard):
                rates[heard.rate] += 1
                twins[heard.digest].append(utterance.audio)
                if not any(f.left_out for f in wrong):
                    usable.append((utterance, heard.seconds))
            findings.extend(wrong)
            if progress:
                progress(done, len(found.utterances))
    findings.extend(f for paths in twins.values() for f in _duplicates(paths))
    measured = [replace(u, seconds=seconds) for u, seconds in usable]
    split = give_roles(measured if found.states_split else hold_out(measured))
    findings.sort(key=lambda f: (not f.left_out, str(f.path)))
    return Inspection(root, tuple(split), dict(sorted(rates.items())), tuple(findings))


def _listen(path: Path) -> _Heard | str:
    """Read a file in blocks, so that an hour of audio takes no more memory than a minute."""
    digest, peak, clipped, run, frames = hashlib.sha256(), 0.0, 0, 0, 0
    ceiling = 1.0 if path.suffix.lower() in _LOSSY else _FULL_SCALE
    try:
        with soundfile.SoundFile(path) as file:
            for block in file.blocks(_BLOCK, dtype="float32", always_2d=True):
                if not np.isfinite(block).all():
                    return "it holds samples that are not numbers"
                digest.update(block.tobytes())
                frames += len(block)
                level = np.abs(block).max(axis=1)
                peak = max(peak, float(level.max(initial=0.0)))
                found, run = _clipped(level >= ceiling, run)
                clipped += found
            if frames == 0:
                return "it holds no samples"
            return _Heard(
                frames / file.samplerate, file.samplerate, file.channels, peak, clipped, digest.hexdigest()
            )
    except (OSError, RuntimeError, TypeError) as error:
        return "there is no such file" if not path.exists() else f"damaged or of an unknown format: {error}"


def _clipped(full: NDArray[np.bool_], run: int) -> tuple[int, int]:
    """Samples in runs of at least three at full scale; ``run`` is carried from block to block."""
    count = 0
    if not full.any():
        return 0, 0
    for is_full in full.tolist():
        run = run + 1 if is_full else 0
        count += CLIPPED_RUN if run == CLIPPED_RUN else int(run > CLIPPED_RUN)
    return count, run


def _judge(utterance: Utterance, heard: _Heard | str, config: CorpusConfig) -> list[Finding]:
    path = utterance.audio
    if isinstance(heard, str):
        return [Finding(path, "unreadable", heard)]
    wrong = []
    if heard.peak < SILENCE_PEAK:
        wrong.append(Finding(path, "silent", f"peak {heard.peak:.1e} of full scale"))
    if heard.seconds < config.min_seconds:
        wrong.append(Finding(path, "too short", f"{heard.seconds:.2f} s, at least {config.min_seconds:g} s"))
    if heard.seconds > config.max_seconds:
        wrong.append(Finding(path, "too long", f"{heard.seconds:.2f} s, at most {config.max_seconds:g} s"))
    try:
        phonemize(utterance.text, utterance.language)
    except TextError as error:
        wrong.append(Finding(path, "no text", str(error)))
    if heard.clipped:
        wrong.append(Finding(path, "clipped", f"{heard.clipped} samples in runs at full scale"))
    if heard.channels > 1:
        wrong.append(Finding(path, "channels", f"{heard.channels} channels, which are averaged"))
    return wrong


def _duplicates(paths: Sequence[Path]) -> list[Finding]:
    return [Finding(p, "duplicate", f"the same audio as {paths[0].name}") for p in paths[1:]]


def _of_problem(problem: Problem) -> Finding:
    kind: Kind = "no text" if "text" in problem.reason else "unreadable"
    return Finding(problem.path, kind, problem.reason)
