"""From a person's recordings to what cloning needs: the usable utterances as features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from client.home.recordings import find_recordings, refuse_empty
from shared_models.audio.extraction import features_of, require_usable
from shared_models.config import Recipe
from shared_models.errors import AudioError, CorpusError, TextError
from shared_models.features import Features


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What of a person's recordings can be used."""

    features: list[Features] = field(default_factory=list)
    """Of each usable utterance."""
    left_out: list[str] = field(default_factory=list)
    """Why others are not used, a sentence each."""
    notes: list[str] = field(default_factory=list)
    """What was mended in those that are used, and what of their texts is not said, a sentence each."""


def enroll(
    path: Path,
    recipe: Recipe,
    on_utterance: Callable[[int, int], None] | None = None,
    most: int | None = None,
) -> Enrolled:
    """Read a folder or CSV of one speaker.

    Of more than ``most`` recordings, so many at most are read, evenly spread over all. Raises
    :class:`CorpusError` if fewer than two can be used.
    """
    found = find_recordings(path)
    refuse_empty(found, path)
    recordings = list(found.utterances)
    if most is not None:
        recordings = recordings[:: -(-len(recordings) // most)]
    enrolled = Enrolled(left_out=[f"{problem.path}: {problem.reason}" for problem in found.problems])
    for number, recording in enumerate(recordings, start=1):
        try:
            usable = require_usable(recording, recipe.features)
            enrolled.features.append(features_of(recording, usable, recipe.features.signals))
            enrolled.notes.extend(f"{recording.audio}: {said}" for _, said in usable.notes(recording))
        except (AudioError, TextError) as error:
            enrolled.left_out.append(str(error))
        if on_utterance is not None:
            on_utterance(number, len(recordings))
    if len(enrolled.features) < 2:
        raise CorpusError(_too_few(path, len(enrolled.features), enrolled.left_out))
    return enrolled


def _too_few(path: Path, usable: int, problems: Sequence[str]) -> str:
    reason = f" (first problem: {problems[0]})" if problems else ""
    return f"{path} has {usable} usable utterance(s) with text{reason}: cloning needs at least 2, better five or more"
