"""From a person's recordings to what cloning needs: the usable utterances as features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from client.home.recordings import find_recordings, refuse_empty
from shared_models.audio.extraction import extract
from shared_models.config import Recipe
from shared_models.errors import AudioError, CorpusError, TextError
from shared_models.features import Features


def enroll(
    path: Path,
    recipe: Recipe,
    on_utterance: Callable[[int, int], None] | None = None,
    most: int | None = None,
) -> tuple[list[Features], list[str]]:
    """Read a folder or CSV of one speaker: usable utterances as features, and why others are left out.

    Of more than ``most`` recordings, so many at most are read, evenly spread over all. Raises
    :class:`CorpusError` if fewer than two can be used.
    """
    found = find_recordings(path)
    refuse_empty(found, path)
    recordings = list(found.utterances)
    if most is not None:
        recordings = recordings[:: -(-len(recordings) // most)]
    features: list[Features] = []
    problems = [f"{problem.path}: {problem.reason}" for problem in found.problems]
    for number, recording in enumerate(recordings, start=1):
        try:
            features.append(extract(recording, recipe.features))
        except (AudioError, TextError) as error:
            problems.append(str(error))
        if on_utterance is not None:
            on_utterance(number, len(recordings))
    if len(features) < 2:
        raise CorpusError(_too_few(path, len(features), problems))
    return features, problems


def _too_few(path: Path, usable: int, problems: Sequence[str]) -> str:
    reason = f" (first problem: {problems[0]})" if problems else ""
    return f"{path} has {usable} usable utterance(s) with text{reason}: cloning needs at least 2, better five or more"
