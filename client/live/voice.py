"""From a folder of recordings to a device's home: what can be used, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from client.home.device import Device
from client.home.recordings import find_recordings
from shared_models.audio.cache import FeatureCache
from shared_models.audio.mel import FRAME_RATE
from shared_models.config import CorpusConfig, FeatureConfig
from shared_models.errors import AudioError, CorpusError, TextError
from shared_models.utterance import Utterance

LEAST_UTTERANCES = 5
"""Fewer cannot be split into what adapts the voice and what trains the shared model."""


def prepare_voice(
    path: Path, home: Path, name: str, on_recording: Callable[[int, int], None] | None = None
) -> tuple[Device, list[str]]:
    """Make ``home`` a device of the recordings at ``path``; each that is left out has a sentence that says why.

    Every recording is read once, so that what is wrong with it is known now and not in a round at night. Raises
    :class:`CorpusError` where fewer than five can be used.
    """
    found = find_recordings(path)
    speakers = sorted({recording.speaker_id for recording in found.utterances})
    if len(speakers) > 1:
        raise CorpusError(
            f"{path} holds the recordings of {len(speakers)} people ({', '.join(speakers[:3])}, ...): a device is one "
            "person's, so give the folder of that person"
        )
    cache = home.resolve() / "features"
    problems = [f"{problem.path.name}: {problem.reason}" for problem in found.problems]
    usable: list[Utterance] = []
    for number, recording in enumerate(found.utterances, start=1):
        reason = _unusable(recording, cache)
        if reason is None:
            usable.append(recording)
        else:
            problems.append(reason)
        if on_recording is not None:
            on_recording(number, len(found.utterances))
    if len(usable) < LEAST_UTTERANCES:
        why = f" (first problem: {problems[0]})" if problems else ""
        raise CorpusError(
            f"{path} has {len(usable)} usable recordings with text{why}: taking part needs at least "
            f"{LEAST_UTTERANCES}, of one sentence each"
        )
    absolute = [_absolute(recording) for recording in usable]
    return Device.create(home, name, absolute, cache), problems


def _unusable(recording: Utterance, cache: Path) -> str | None:
    limits = CorpusConfig()
    try:
        features = FeatureCache(cache).get(recording, FeatureConfig())
    except (AudioError, TextError) as error:
        return str(error)
    seconds = features.mel.shape[0] / FRAME_RATE
    if not limits.min_seconds <= seconds <= limits.max_seconds:
        return (
            f"{recording.audio.name}: {seconds:.1f} s of speech, where {limits.min_seconds:g} to "
            f"{limits.max_seconds:g} s can be used"
        )
    return None


def _absolute(recording: Utterance) -> Utterance:
    alignment = recording.alignment
    return replace(recording, audio=recording.audio.resolve(), alignment=alignment and alignment.resolve())
