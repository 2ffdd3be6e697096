"""Vocos: ConvNeXt blocks at the frame rate, then magnitude and phase, then one inverse STFT.

Source: H. Siuzdak, "Vocos: Closing the gap between time-domain and Fourier-based neural vocoders",
ICLR 2024 (arXiv 2306.00814), on the blocks of Z. Liu et al., "A ConvNet for the 2020s" (arXiv 2201.03545).
The mel and the place of the frames are this repository's rather than the paper's 24 kHz centred ones. With
nothing computed at the sample rate but the inverse STFT, it is the fastest generator on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared_models.audio.mel import N_FFT, N_MELS
from shared_models.partition import Owner
from shared_models.vocoders.inverse_stft import inverse_stft

_BINS = N_FFT // 2 + 1
_LARGEST_MAGNITUDE = 100.0
_KERNEL = 7
_NORM_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class VocosDimensions:
    """Sizes of :class:`Vocos`; the paper's by default (13.5 M parameters)."""

    width: int = 512
    hidden: int = 1536
    """Channels between the two linear layers of a block."""
    blocks: int = 8


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution over time, then two linear layers over channels, beside a shortcut."""

    belongs_to = Owner.SHARED

    def __init__(self, width: int, hidden: int, layer_scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.layer_scale = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to the same shape."""
        mixed = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        changed: Tensor = self.contract(nn.functional.gelu(self.expand(self.norm(mixed))))
        return x + self.layer_scale * changed


class Vocos(nn.Module):
    """A wave from a mel by predicting every bin's magnitude and phase.

    Example::

        wave = Vocos(VocosDimensions(width=256, hidden=768))(mel)  # (B, T, 80) -> (B, T * 256)
    """

    belongs_to = Owner.SHARED
    window: Tensor

    def __init__(self, dimensions: VocosDimensions | None = None) -> None:
        super().__init__()
        sizes = dimensions or VocosDimensions()
        self.dimensions = sizes
        self.embed = nn.Conv1d(N_MELS, sizes.width, _KERNEL, padding=_KERNEL // 2)
        self.norm = nn.LayerNorm(sizes.width, eps=_NORM_EPSILON)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(sizes.width, sizes.hidden, 1 / sizes.blocks) for _ in range(sizes.blocks)
        )
        self.final_norm = nn.LayerNorm(sizes.width, eps=_NORM_EPSILON)
        self.head = nn.Linear(sizes.width, 2 * _BINS)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.apply(initialise)

    def forward(self, mel: Tensor) -> Tensor:
        """Wave ``(B, T * HOP)`` at 22,050 Hz of a natural-log ``mel (B, T, N_MELS)``."""
        magnitude, phase = self.spectrum(mel)
        return inverse_stft(torch.polar(magnitude, phase), self.window)

    def spectrum(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and phase in radians, both ``(B, T, N_FFT // 2 + 1)``, of ``mel (B, T, N_MELS)``."""
        x = self.norm(self.embed(mel.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        log_magnitude, phase = self.head(self.final_norm(x)).chunk(2, dim=-1)
        return log_magnitude.exp().clamp(max=_LARGEST_MAGNITUDE), phase


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
