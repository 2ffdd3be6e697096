"""From a folder of recordings to a device's home: what can be used, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from client.home.device import Device
from client.home.recordings import find_recordings
from shared_models.audio.cache import FeatureCache
from shared_models.audio.extraction import require_usable
from shared_models.audio.mel import FRAME_RATE
from shared_models.config import CorpusConfig, FeatureConfig
from shared_models.errors import AudioError, CorpusError, TextError
from shared_models.utterance import Utterance

LEAST_UTTERANCES = 5
"""Fewer cannot be split into what adapts the voice and what trains the shared model."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A device's home, and what its owner should know of the recordings."""

    device: Device
    left_out: list[str] = field(default_factory=list)
    """Why some are not used, a sentence each."""
    notes: list[str] = field(default_factory=list)
    """What was mended in those that are used, and what of their texts is not said, a sentence each."""


def prepare_voice(
    path: Path, home: Path, name: str, on_recording: Callable[[int, int], None] | None = None
) -> Prepared:
    """Make ``home`` a device of the recordings at ``path``.

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
    left_out = [f"{problem.path.name}: {problem.reason}" for problem in found.problems]
    usable: list[Utterance] = []
    notes: list[str] = []
    for number, recording in enumerate(found.utterances, start=1):
        try:
            notes += _heard(recording, cache)
            usable.append(recording)
        except (AudioError, TextError) as error:
            left_out.append(str(error))
        if on_recording is not None:
            on_recording(number, len(found.utterances))
    if len(usable) < LEAST_UTTERANCES:
        why = f" (first problem: {left_out[0]})" if left_out else ""
        raise CorpusError(
            f"{path} has {len(usable)} usable recordings with text{why}: taking part needs at least "
            f"{LEAST_UTTERANCES}, of one sentence each"
        )
    absolute = [_absolute(recording) for recording in usable]
    return Prepared(Device.create(home, name, absolute, cache), left_out, notes)


def _heard(recording: Utterance, cache: Path) -> list[str]:
    """Compute and keep a recording's features; what was mended in it. Raises :class:`AudioError` if it is unusable."""
    limits, config = CorpusConfig(), FeatureConfig()
    usable = require_usable(recording, config)
    seconds = FeatureCache(cache).get(recording, config, usable).mel.shape[0] / FRAME_RATE
    if not limits.min_seconds <= seconds <= limits.max_seconds:
        raise AudioError(
            f"{recording.audio.name}: {seconds:.1f} s of speech, where {limits.min_seconds:g} to "
            f"{limits.max_seconds:g} s can be used"
        )
    return [f"{recording.audio.name}: {said}" for _, said in usable.notes(recording)]


def _absolute(recording: Utterance) -> Utterance:
    alignment = recording.alignment
    return replace(recording, audio=recording.audio.resolve(), alignment=alignment and alignment.resolve())
