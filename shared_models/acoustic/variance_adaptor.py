"""FastSpeech 2's variance adaptor (arXiv 2006.04558): duration, pitch and energy, phoneme by phoneme.

Duration is predicted from the sequence as it comes; the pitch embedding is added, energy is predicted from
that sum, and its embedding is added too. Pitch and energy are embedded as numbers by a convolution (as in
StyleSpeech, arXiv 2106.03153) rather than by bins, whose edges would be statistics of private speech.

A voice's prosody ``(B, 4)`` acts on what the shared predictors say: pitch register (shift) and range (log
of a scale), energy shift, and speaking rate (shift of the log-duration). Four numbers that a few steps can
learn, all 0 for the average voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.sequences import masked_mean
from shared_models.layers.transformer import zero_padding
from shared_models.layers.voiced import apply_layer
from shared_models.partition import Owner
from shared_models.speakers.voice import Voice

NORMS = 6
"""Layer norms of the three predictors together."""
PROSODY = 4
"""P: pitch register, log pitch range, energy, log speaking rate."""
LOG_RANGE = 1
"""Which of them is the log pitch range."""


@dataclass(frozen=True, slots=True)
class Variances:
    """Per phoneme ``(B, L)``: log(frames + 1), and pitch and energy in normalised units."""

    log_duration: Tensor
    pitch: Tensor
    energy: Tensor


@dataclass(frozen=True, slots=True)
class Enriched:
    """Phonemes as they go to the length regulator."""

    sequence: Tensor
    """``(B, L, H)``: pitch and energy embedded."""
    pitch: Tensor
    """``(B, L)`` normalised, as embedded."""
    energy: Tensor
    """``(B, L)`` normalised, as embedded."""


class VariancePredictor(nn.Module):
    """[conv k3, ReLU, layer norm, dropout] twice, then one number a phoneme."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, dropout: float, norms: Sequence[nn.Module], kernel: int = 3) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2) for _ in range(2)
        )
        self.norms = nn.ModuleList(norms)
        self.output = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, voice: Voice) -> Tensor:
        """``x (B, L, H)``, ``mask (B, L)`` bool, to ``(B, L)``."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(apply_layer(convolution, zero_padding(x, mask).transpose(1, 2), voice)).transpose(1, 2)
            x = self.dropout(apply_layer(norm, x, voice))
        predicted = apply_layer(self.output, x, voice).squeeze(-1)
        return predicted * mask


class VarianceAdaptor(nn.Module):
    """The three predictors and the embeddings of pitch and energy. ``norms`` are two each, in the predictors' order."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, dropout: float, norms: Sequence[nn.Module], kernel: int = 3) -> None:
        super().__init__()
        self.duration = VariancePredictor(hidden, dropout, norms[0:2])
        self.pitch = VariancePredictor(hidden, dropout, norms[2:4])
        self.energy = VariancePredictor(hidden, dropout, norms[4:6])
        self.pitch_embedding = nn.Conv1d(1, hidden, kernel, padding=kernel // 2)
        self.energy_embedding = nn.Conv1d(1, hidden, kernel, padding=kernel // 2)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        voice: Voice,
        pitch: Tensor | None = None,
        energy: Tensor | None = None,
        *,
        pitch_shift: float = 0.0,
        energy_shift: float = 0.0,
        pitch_spread: float = 1.0,
    ) -> tuple[Enriched, Variances]:
        """Enrich ``x (B, L, H)`` with pitch and energy; returns it and what was predicted.

        ``mask (B, L)`` bool; a voice's ``prosody`` is ``(B, P)``. True ``pitch`` and ``energy (B, L)`` are used where
        given (teacher forcing), else the predictions plus the shifts (normalised units), pitch at ``pitch_spread``
        times its distance from the utterance's mean.
        """
        register, log_range, loudness, rate = voice["prosody"][:, :, None].unbind(1)
        log_duration = (self.duration(x, mask, voice) + rate) * mask
        predicted_pitch = (register + log_range.exp() * self.pitch(x, mask, voice)) * mask
        if pitch is None:
            wide = widened(predicted_pitch, mask, pitch_spread) if pitch_spread != 1 else predicted_pitch
            pitch = wide + pitch_shift
        x = x + self._embed(self.pitch_embedding, pitch, mask, voice)
        predicted_energy = (loudness + self.energy(x, mask, voice)) * mask
        energy = predicted_energy + energy_shift if energy is None else energy
        x = x + self._embed(self.energy_embedding, energy, mask, voice)
        predicted = Variances(log_duration, predicted_pitch, predicted_energy)
        return Enriched(zero_padding(x, mask), pitch, energy), predicted

    @staticmethod
    def _embed(convolution: nn.Module, values: Tensor, mask: Tensor, voice: Voice) -> Tensor:
        return apply_layer(convolution, (values * mask)[:, None], voice).transpose(1, 2)


def predicted_frames(
    log_duration: Tensor,
    least: Tensor,
    scale: float | Tensor,
    most: int,
    *,
    carry: bool = False,
    spread: float = 1.0,
) -> Tensor:
    """Whole frames ``(B, L)`` int64 from ``log(d + 1)``, times ``scale``, within ``[least, most]``.

    ``least (B, L)`` int64. ``spread`` widens the durations of what must last at least a frame about their mean.
    ``carry`` rounds the phonemes' ends instead of each duration, so that what rounding takes from one phoneme goes to
    the next. An utterance that would last no frame at all gets one, on its first phoneme.
    """
    # Clipped before exp, so that an untrained predictor gives long frames rather than infinities.
    frames = (log_duration.clamp_max(12.0).exp() - 1) * scale
    if spread != 1:
        frames = torch.where(least > 0, widened(frames, least > 0, spread), frames)
    if carry:
        ends = frames.clamp(0, most).cumsum(1).round().long()
        whole = ends.diff(dim=1, prepend=torch.zeros_like(ends[:, :1]))
    else:
        whole = frames.round().clamp(0, most).long()
    whole = torch.maximum(whole, least)
    # Written without an assignment in place, which an exporter cannot trace.
    silent = (whole.sum(1, keepdim=True) == 0).long()
    return whole + silent * (torch.arange(whole.shape[1], device=whole.device) == 0).long()


def widened(values: Tensor, mask: Tensor, factor: float) -> Tensor:
    """``values (B, L)`` with ``factor`` times their distance from their mean over ``mask (B, L)`` bool."""
    mean = masked_mean(values, mask)[:, None]
    return mean + factor * (values - mean)
