"""d-vectors (GE2E: Wan 2018, arXiv 1710.10467): a unidirectional LSTM whose last state is the speaker.

The defaults are the open version, Resemblyzer's, whose weights load by their own names; :data:`PAPER` has the paper's
sizes. A ReLU makes the open version's embeddings non-negative, so that all of their cosines are, too: thresholds
differ from those of signed embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.audio.sixteen_kilohertz import HOP, RATE

PART = 160
"""Frames that the LSTM is trained on, and hears at once: 1.6 s."""
STEP = round(RATE / 1.3 / HOP)
"""Frames from part to part of a recording: 1.3 parts a second."""
_LEAST_COVERAGE = 0.75


@dataclass(frozen=True, slots=True)
class DVectorSizes:
    """The defaults are the open version's."""

    bins: int = 40
    hidden: int = 256
    layers: int = 3
    projection: int = 0
    """Of each LSTM layer's output, 0 for none; with one there is no linear map behind the LSTM."""
    width: int = 256


PAPER = DVectorSizes(hidden=768, projection=256)
"""The GE2E paper's: 768 cells a layer, projected to 256."""


class DVector(nn.Module):
    """Power mels ``(B, N, bins)`` to unit embeddings ``(B, width)``."""

    hears = "power_mel"

    def __init__(self, sizes: DVectorSizes | None = None) -> None:
        super().__init__()
        self.sizes = s = sizes or DVectorSizes()
        self.lstm = nn.LSTM(s.bins, s.hidden, s.layers, batch_first=True, proj_size=s.projection)
        self.linear = None if s.projection else nn.Linear(s.hidden, s.width)

    @property
    def width(self) -> int:
        """Of an embedding."""
        return self.sizes.projection or self.sizes.width

    def forward(self, spectra: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``spectra (B, N, bins)``; ``lengths (B,)`` where some are padded.

        The state is read at each utterance's own last step: what follows is padding, which an LSTM would go on from.
        """
        states, _ = self.lstm(spectra)
        if lengths is None:
            last = states[:, -1]
        else:
            rows = torch.arange(len(states), device=states.device)
            last = states[rows, (lengths - 1).clamp_min(0)]
        said = last if self.linear is None else torch.relu(self.linear(last))
        unit: Tensor = F.normalize(said, dim=1)
        return unit

    def whole(self, spectra: Tensor, samples: int) -> Tensor:
        """The unit mean ``(width,)`` over the parts of one recording's ``spectra (N, bins)`` of ``samples`` at 16 kHz.

        Source: Resemblyzer's ``embed_utterance``.
        """
        parts = torch.stack([spectra[start : start + PART] for start in part_starts(samples)])
        mean = self(parts).mean(dim=0)
        unit: Tensor = mean / mean.norm()
        return unit


def part_starts(samples: int) -> list[int]:
    """First frames of the parts; the last one is kept if the recording fills three quarters of it."""
    frames = -(-(samples + 1) // HOP)
    starts = list(range(0, max(1, frames - PART + STEP + 1), STEP))
    if len(starts) > 1 and samples - starts[-1] * HOP < _LEAST_COVERAGE * PART * HOP:
        starts.pop()
    return starts
