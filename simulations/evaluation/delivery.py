"""How fast somebody speaks, and how much their voice moves: what a mean likeness does not hear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from shared_models.audio.level import find_speech, speech_span
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.pitch import track_pitch
from shared_models.audio.reading import Wave
from shared_models.errors import AudioError


def speech_seconds(wave: Wave) -> float:
    """Seconds from the first to the last speech in ``wave (samples,)`` at 22,050 Hz; NaN where there is none."""
    try:
        start, end = speech_span(find_speech(wave, SAMPLE_RATE), len(wave), SAMPLE_RATE)
    except AudioError:
        return float("nan")
    return (end - start) / SAMPLE_RATE


def pitch_spread(waves: Sequence[Wave]) -> float:
    """Standard deviation of the natural log of F0 over all voiced frames of ``waves``; NaN without two of them."""
    tracks = [track_pitch(torch.from_numpy(np.ascontiguousarray(wave))) for wave in waves]
    voiced = torch.cat([track.log_f0[track.voiced] for track in tracks])
    return float(voiced.double().std()) if len(voiced) > 1 else float("nan")
