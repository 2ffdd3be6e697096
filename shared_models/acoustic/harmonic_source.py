"""What a decoder need not guess: each frame's pitch, voicing and energy, and its harmonics drawn in the mel's bands.

A decoder that is told the pitch of phonemes alone cannot know where the harmonics of a frame lie, and learns their
mean, which is a blur. Here it is told each frame's contours, and is shown the log-mel of a pulse train at the frame's
F0: what a source-filter vocoder would excite (as neural source-filter models do for waveforms, arXiv 1904.12088).
It lets through what it wants of that drawing by a gate, at its input and at its output. In training the contours are
the recording's; at synthesis :class:`ContourPredictor` finds them, from the phonemes' pitch and energy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.acoustic.variance_adaptor import Enriched
from shared_models.audio.mel import F_MAX, N_FFT, N_MELS, SAMPLE_RATE, mel_basis
from shared_models.audio.normalisation import (
    BOUND,
    normalise_energy,
    normalise_pitch,
    restore_pitch,
)
from shared_models.features import Batch
from shared_models.layers.sequences import Excerpt
from shared_models.layers.transformer import zero_padding
from shared_models.layers.voiced import apply_layer
from shared_models.partition import Owner
from shared_models.speakers.voice import Voice

LOWEST_HZ, HIGHEST_HZ = 50.0, 650.0
"""F0 beyond these is drawn as the nearest of them."""
DRAWN_PITCHES = 1024
"""Steps of 0.25 %: the thirtieth harmonic is drawn within 4 % of the distance to the next."""
FLOOR = 1e-3
"""Between harmonics, relative to a harmonic's peak: about the side lobes and noise of a recording."""
PHONEME_COLUMNS = 4
"""What a frame is told of its phoneme beside its vector: pitch, energy, first frame, and how many frames."""


@dataclass(frozen=True, slots=True)
class Contours:
    """Frame by frame ``(B, W)``: what a decoder is told."""

    pitch: Tensor
    """Normalised; means nothing where the frame is not voiced."""
    voiced: Tensor
    """1 where the frame is voiced, else 0."""
    energy: Tensor
    """Normalised."""


@dataclass(frozen=True, slots=True)
class PredictedContours:
    """The same as they are predicted, ``(B, W)``."""

    pitch: Tensor
    voicing: Tensor
    """Log-odds that the frame is voiced."""
    energy: Tensor

    def decided(self) -> Contours:
        """What is spoken: a frame is voiced if that is likelier than not."""
        voiced = (self.voicing > 0).to(self.pitch.dtype)
        return Contours(self.pitch.clamp(-BOUND, BOUND), voiced, self.energy.clamp(-BOUND, BOUND))


def recorded_contours(batch: Batch, excerpt: Excerpt) -> Contours:
    """The contours of the frames of ``excerpt`` of each recording."""

    def windowed(values: Tensor) -> Tensor:
        return excerpt.of(values[..., None])[..., 0]

    return Contours(
        pitch=normalise_pitch(windowed(batch.log_f0)),
        voiced=windowed(batch.voiced).to(batch.mel.dtype),
        energy=normalise_energy(windowed(batch.energy)),
    )


class HarmonicBands(nn.Module):
    """Normalised pitch of any shape to the bands of its harmonics ``(..., N_MELS)``."""

    belongs_to = Owner.CONSTANT
    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", harmonic_table().clone(), persistent=False)

    def forward(self, pitch: Tensor) -> Tensor:
        """The nearest drawing in the table."""
        octaves = (restore_pitch(pitch) - math.log(LOWEST_HZ)) / math.log(HIGHEST_HZ / LOWEST_HZ)
        rows = (octaves * (DRAWN_PITCHES - 1)).round().clamp(0, DRAWN_PITCHES - 1).long()
        return F.embedding(rows, self.table)


@lru_cache(maxsize=1)
def harmonic_table() -> Tensor:
    """Log-mels ``(DRAWN_PITCHES, N_MELS)`` of pulse trains, evenly spaced in log F0 from lowest to highest.

    Each harmonic is a Hann window's main lobe. Each row has mean 0, so that it says nothing of loudness, and all of
    them together a standard deviation of 1.
    """
    basis = mel_basis()
    bins = torch.arange(len(basis)) * (SAMPLE_RATE / N_FFT)
    lobe = 2 * SAMPLE_RATE / N_FFT
    rows = []
    for f0 in torch.linspace(math.log(LOWEST_HZ), math.log(HIGHEST_HZ), DRAWN_PITCHES).exp().tolist():
        harmonics = torch.arange(1, int(F_MAX / f0) + 1) * f0
        distance = ((bins - harmonics[:, None]).abs() / lobe).clamp_max(1)
        drawn = torch.cos(math.pi / 2 * distance).square().sum(0)
        rows.append(((drawn + FLOOR) @ basis).log())
    table = torch.stack(rows)
    table = table - table.mean(1, keepdim=True)
    return table / table.std()


def with_phoneme_columns(enriched: Enriched, durations: Tensor) -> Tensor:
    """``(B, L, H + PHONEME_COLUMNS)``: what the length regulator repeats for a model with a source.

    ``durations (B, L)`` int64.
    """
    first = durations.cumsum(1) - durations
    columns = [enriched.pitch, enriched.energy, first.to(enriched.pitch), durations.to(enriched.pitch)]
    return torch.cat([enriched.sequence, torch.stack(columns, dim=-1)], dim=-1)


class ContourPredictor(nn.Module):
    """The contours of frames from their phonemes: what each frame adds to its phoneme's pitch and energy, and voicing.

    [conv k5, ReLU, layer norm, dropout] three times, then three numbers a frame, which are 0 at first.
    """

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, dropout: float, kernel: int = 5, layers: int = 3) -> None:
        super().__init__()
        widths = [hidden + PHONEME_COLUMNS, *[hidden] * (layers - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, hidden, kernel, padding=kernel // 2) for width in widths
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in widths)
        self.output = nn.Linear(hidden, 3)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, rows: Tensor, frames: Tensor, mask: Tensor, log_range: Tensor, voice: Voice | None = None
    ) -> PredictedContours:
        """``rows (B, W, H + PHONEME_COLUMNS)`` of :func:`with_phoneme_columns`, regulated to ``frames (B, W)`` int64.

        ``mask (B, W)`` bool; ``log_range (B,)`` scales what a frame adds to its phoneme's pitch, as it scales the
        phonemes' pitch.
        """
        vectors, (pitch, energy, first, lasting) = (
            rows[..., :-PHONEME_COLUMNS],
            rows[..., -PHONEME_COLUMNS:].unbind(-1),
        )
        elapsed = (frames - first + 0.5) / lasting.clamp_min(1)
        told = torch.stack([pitch, energy, elapsed, lasting.log1p()], dim=-1)
        x = torch.cat([vectors, told], dim=-1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(apply_layer(convolution, zero_padding(x, mask).transpose(1, 2), voice)).transpose(1, 2)
            x = self.dropout(apply_layer(norm, x, voice))
        pitch_change, voicing, energy_change = apply_layer(self.output, x, voice).unbind(-1)
        return PredictedContours(
            pitch=pitch + log_range.exp()[:, None] * pitch_change,
            voicing=voicing,
            energy=energy + energy_change,
        )


class HarmonicSource(nn.Module):
    """Predicts contours, draws their harmonics, and lets the decoder have both."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.contours = ContourPredictor(hidden, dropout)
        self.bands = HarmonicBands()
        self.entry = nn.Sequential(nn.Linear(3 + N_MELS, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.gate = nn.Linear(hidden, N_MELS)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def draw(self, contours: Contours) -> Tensor:
        """The harmonics of the voiced frames ``(B, W, N_MELS)``; 0 in all others."""
        drawn: Tensor = self.bands(contours.pitch) * contours.voiced[..., None]
        return drawn

    def enter(self, contours: Contours, drawn: Tensor, voice: Voice | None = None) -> Tensor:
        """What is added to the decoder's input ``(B, W, H)``."""
        told = torch.stack([contours.pitch * contours.voiced, contours.voiced, contours.energy], dim=-1)
        x = torch.cat([told, drawn], dim=-1)
        for layer in self.entry:
            x = apply_layer(layer, x, voice)
        return x

    def leave(self, decoded: Tensor, drawn: Tensor, voice: Voice | None = None) -> Tensor:
        """What is added to the normalised mel ``(B, W, N_MELS)``; ``decoded (B, W, H)`` opens the gate."""
        return apply_layer(self.gate, decoded, voice) * drawn
