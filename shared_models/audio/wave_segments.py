"""Random segments of recordings, each with the mel that the whole recording has there.

A vocoder is trained on a third of a second at a time. The mel of a cut-out segment differs at its edges
from the recording's own, since every frame sees 384 samples on each side of its hop; so a segment is read
with a margin, and only the frames inside are kept. Beyond the ends of a recording the margin is reflected,
exactly as :mod:`shared_models.audio.mel` does for a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_models.audio.mel import HOP, PADDING, log_mel

MARGIN_FRAMES = -(-PADDING // HOP)
MARGIN = MARGIN_FRAMES * HOP
FULL_SCALE = 32767.0

Samples = NDArray[Any]
"""``(samples,)`` at 22,050 Hz: float32 in [-1, 1], or int16 as :func:`to_int16` makes it."""


@dataclass(frozen=True, slots=True)
class WaveSegments:
    """B segments of T frames. What a vocoder's training step sees."""

    mel: Tensor
    """``(B, T, N_MELS)`` natural log, as :func:`shared_models.audio.mel.log_mel` gives."""
    wave: Tensor
    """``(B, T * HOP)`` in [-1, 1], aligned: frame t is centred at sample (t + 1/2) * HOP."""

    def to(self, device: torch.device) -> WaveSegments:
        """The same segments on another device."""
        return WaveSegments(self.mel.to(device), self.wave.to(device))


def to_int16(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """``(samples,)`` in [-1, 1] as 16-bit numbers, half the memory."""
    rounded: NDArray[np.int16] = np.rint(np.clip(wave, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    return rounded


def cut(recording: Samples, start: int, frames: int) -> Tensor:
    """``(frames * HOP + 2 * MARGIN,)`` float32 around the segment that begins at sample ``start``.

    Raises :class:`ValueError` for a segment that the recording does not hold.
    """
    stop = start + frames * HOP
    if start < 0 or stop > len(recording) or len(recording) <= MARGIN:
        raise ValueError(f"samples {start} to {stop} are not in a recording of {len(recording)}")
    low, high = max(0, start - MARGIN), min(len(recording), stop + MARGIN)
    before, after = low - (start - MARGIN), stop + MARGIN - high
    # A recording is longer than the margin, so what is reflected at an end of it lies inside of it.
    left = recording[1 : before + 1][::-1]
    right = recording[high - after - 1 : high - 1][::-1]
    samples = np.concatenate([left, recording[low:high], right])
    scale = np.float32(FULL_SCALE if samples.dtype == np.int16 else 1.0)
    return torch.from_numpy(samples.astype(np.float32) / scale)


def segments_of(cuts: Tensor) -> WaveSegments:
    """The segments inside of ``cuts (B, T * HOP + 2 * MARGIN)``, with the mels of their recordings."""
    mel = log_mel(cuts)[:, MARGIN_FRAMES:-MARGIN_FRAMES]
    return WaveSegments(mel.contiguous(), cuts[:, MARGIN:-MARGIN].contiguous())


def random_segments(
    speakers: Sequence[Sequence[Samples]], batch: int, frames: int, rng: torch.Generator
) -> WaveSegments:
    """``batch`` segments of ``frames`` frames: a speaker, one of the recordings, a place, each uniformly.

    All speakers are heard equally often, however much each has recorded. Every recording must hold
    ``frames`` frames and more than the margin.
    """
    cuts = []
    for row in torch.randint(len(speakers), (batch,), generator=rng).tolist():
        recordings = speakers[row]
        recording = recordings[_below(len(recordings), rng)]
        cuts.append(cut(recording, _below(len(recording) - frames * HOP + 1, rng), frames))
    return segments_of(torch.stack(cuts))


def long_enough(samples: int, frames: int) -> bool:
    """Whether a recording of so many samples can give segments of ``frames`` frames."""
    return samples >= frames * HOP and samples > MARGIN


def _below(count: int, rng: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=rng))
