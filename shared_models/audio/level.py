"""Where the speech is in a recording, and how loud: the basis for trimming and levelling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_models.audio.reading import SILENCE_PEAK, Wave
from shared_models.errors import AudioError

MARGIN_SECONDS = 0.05
"""Silence that is kept before and after the speech."""

PEAK_LIMIT = 0.99

_STEP_SECONDS = 0.01
_SHORTEST_BURST = 3  # steps; a shorter one at the edge is a click, not speech


@dataclass(frozen=True, slots=True)
class Activity:
    """Which 10 ms steps of a recording hold speech."""

    active: NDArray[np.bool_]
    """``(steps,)``."""
    step: int
    """Samples a step."""


def find_speech(wave: Wave, rate: int) -> Activity:
    """Mark the active steps of ``wave (samples,)``; raises :class:`AudioError` where there is no speech.

    The threshold lies 40 dB under the speech level (95th percentile), or 10 dB over the noise floor where
    that is higher, but never less than 25 dB under the speech: a recording without pauses has no visible
    floor.
    """
    step = round(rate * _STEP_SECONDS)
    count = len(wave) // step
    if count < _SHORTEST_BURST:
        raise AudioError(f"a recording of {len(wave) / rate:.3f} s is too short to hold speech")
    power = np.square(wave[: count * step], dtype=np.float64).reshape(count, step).mean(axis=1)
    # A window of three steps rides over the gaps between the pulses of a low voice.
    smooth = np.convolve(np.pad(power, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    decibels = 10 * np.log10(smooth + 1e-12)
    speech, floor = np.percentile(decibels, 95), np.percentile(decibels, 10)
    if speech < 20 * np.log10(SILENCE_PEAK):
        raise AudioError("a recording holds no speech, only silence", kind="silent")
    threshold = np.clip(floor + 10, speech - 40, speech - 25)
    return Activity(_without_clicks(decibels > threshold), step)


def speech_span(activity: Activity, samples: int, rate: int) -> tuple[int, int]:
    """First and one-past-last sample of the speech with 50 ms kept on each side, within ``samples``."""
    steps = np.flatnonzero(activity.active)
    margin = round(rate * MARGIN_SECONDS)
    start = max(0, int(steps[0]) * activity.step - margin)
    return start, min(samples, int(steps[-1] + 1) * activity.step + margin)


def set_level(wave: Wave, activity: Activity, level_dbfs: float) -> Wave:
    """Scale ``wave`` so that its active steps have an RMS of ``level_dbfs``, less if it would clip."""
    count = len(activity.active)
    steps = wave[: count * activity.step].reshape(count, activity.step)
    rms = float(np.sqrt(np.square(steps[activity.active], dtype=np.float64).mean()))
    gain = 10 ** (level_dbfs / 20) / rms
    gain = min(gain, PEAK_LIMIT / float(np.abs(wave).max()))
    return np.asarray(wave * np.float32(gain), dtype=np.float32)


def _without_clicks(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Clear runs of fewer than three active steps (the smoothing has widened a click to three itself)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]])))
    kept = active.copy()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start <= _SHORTEST_BURST:
            kept[start:end] = False
    if not kept.any():
        raise AudioError("a recording holds clicks but no speech", kind="silent")
    return kept
