"""How much of a corpus a run uses: lengths, speakers, utterances. No seed: the same call, the same choice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from client.home.recordings import Problem
from shared_models.audio.decoding import length_of
from shared_models.config import CorpusConfig
from shared_models.errors import AudioError
from shared_models.utterance import Split, Utterance

T = TypeVar("T")


def measure(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Problem]]:
    """Fill in the lengths that no table states, from the files' headers; unreadable files are problems."""
    unknown = [u for u in utterances if u.seconds is None]
    with ThreadPoolExecutor(max_workers=8) as threads:
        lengths = dict(zip((u.utterance_id for u in unknown), threads.map(_length, unknown), strict=True))
    measured, problems = [], []
    for utterance in utterances:
        length = lengths.get(utterance.utterance_id, utterance.seconds)
        if isinstance(length, Problem):
            problems.append(length)
        else:
            measured.append(replace(utterance, seconds=length))
    return measured, problems


def apply_lengths(
    utterances: Sequence[Utterance], config: CorpusConfig
) -> tuple[list[Utterance], list[Problem]]:
    """Leave out what is shorter than ``min_seconds`` or longer than ``max_seconds``."""
    kept, problems = [], []
    for utterance in utterances:
        seconds = utterance.seconds or 0.0
        if seconds < config.min_seconds:
            problems.append(
                Problem(
                    utterance.audio,
                    f"too short: {seconds:.2f} s, at least {config.min_seconds:g} s",
                    "too short",
                )
            )
        elif seconds > config.max_seconds:
            problems.append(
                Problem(
                    utterance.audio,
                    f"too long: {seconds:.2f} s, at most {config.max_seconds:g} s",
                    "too long",
                )
            )
        else:
            kept.append(utterance)
    return kept, problems


def apply_counts(utterances: Sequence[Utterance], config: CorpusConfig) -> list[Utterance]:
    """At most so many speakers of each split, evenly spread over their sorted ids, and utterances each.

    The limit on utterances is for train speakers; test speakers keep what they are cloned and judged on.
    """
    chosen = set(spread(_speakers(utterances, "train"), config.speakers))
    chosen |= set(spread(_speakers(utterances, "test"), config.test_speakers))
    counts: dict[str, int] = defaultdict(int)
    kept = []
    for utterance in utterances:
        counts[utterance.speaker_id] += 1
        limit = config.utterances if utterance.split == "train" else None
        if utterance.speaker_id in chosen and (limit is None or counts[utterance.speaker_id] <= limit):
            kept.append(utterance)
    return kept


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """``count`` items, evenly spread over ``items``; all of them for None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[(2 * index + 1) * len(items) // (2 * count)] for index in range(count)]


def _speakers(utterances: Sequence[Utterance], split: Split) -> list[str]:
    return sorted({u.speaker_id for u in utterances if u.split == split})


def _length(utterance: Utterance) -> float | Problem:
    try:
        return length_of(utterance.audio)
    except AudioError as error:
        return problem_of(utterance, error)


def problem_of(utterance: Utterance, error: AudioError) -> Problem:
    """Why an utterance is left out, without its path, which stands beside it."""
    said = str(error).removeprefix(f"{utterance.audio}").lstrip(": ")
    return Problem(utterance.audio, f"{error.kind}: {said}", error.kind)
