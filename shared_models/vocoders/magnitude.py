"""A network for the magnitude, Griffin-Lim for the phase: the vocoder that a CPU can train and run.

A mel has a tenth of a spectrogram's bins. What plain Griffin-Lim loses, it loses there: with the true
magnitudes its copies are all but transparent. So the network predicts the linear magnitude, as Tacotron's
post-net does (Wang 2017, arXiv 1703.10135, section 3.3), by the blocks of Vocos, and the fast Griffin-Lim
algorithm finds phases that fit. Nothing is left to learn about phase, which is what takes an adversary, a GPU
and a million steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared_models.audio.mel import HOP, N_FFT, N_MELS, PADDING, magnitude, mel_basis
from shared_models.partition import Owner
from shared_models.vocoders.griffin_lim import find_wave
from shared_models.vocoders.vocos import ConvNeXtBlock, initialise

FLOOR = 1e-4
"""Magnitudes below it are silence, and not told apart."""
CONVERGENCE_WEIGHT = 0.5
"""Of spectral convergence, beside the log magnitude's 1: log L1 hears silence as loud as speech."""
_BINS = N_FFT // 2 + 1
_KERNEL = 7
_EDGE = -(-PADDING // HOP)
_QUIET = 1e-3  # a segment of silence has nothing to converge to
_TYPICAL_LOG_MEL = 4.0  # brings the network's input to about unit size


@dataclass(frozen=True, slots=True)
class MagnitudeDimensions:
    """Sizes of :class:`MagnitudeNetwork` (2.8 M parameters)."""

    width: int = 256
    hidden: int = 768
    """Channels between the two linear layers of a block."""
    blocks: int = 6
    iterations: int = 32
    """Of Griffin-Lim, in synthesis."""


class MagnitudeNetwork(nn.Module):
    """A wave from a mel: the magnitude by a network, its phase by search.

    Example::

        wave = MagnitudeNetwork()(mel)  # (B, T, 80) -> (B, T * 256)
    """

    belongs_to = Owner.SHARED
    spread: Tensor

    def __init__(self, dimensions: MagnitudeDimensions | None = None) -> None:
        super().__init__()
        sizes = dimensions or MagnitudeDimensions()
        self.dimensions = sizes
        self.embed = nn.Conv1d(N_MELS, sizes.width, _KERNEL, padding=_KERNEL // 2)
        self.norm = nn.LayerNorm(sizes.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(sizes.width, sizes.hidden, 1 / sizes.blocks) for _ in range(sizes.blocks)
        )
        self.final_norm = nn.LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, _BINS)
        self.register_buffer("spread", _envelope_of_mel(), persistent=False)
        self.apply(initialise)

    def forward(self, mel: Tensor) -> Tensor:
        """Wave ``(B, T * HOP)`` at 22,050 Hz of a natural-log ``mel (B, T, N_MELS)``."""
        return find_wave(self.log_magnitude(mel).exp(), self.dimensions.iterations)

    def log_magnitude(self, mel: Tensor) -> Tensor:
        """Natural log of the STFT magnitude ``(B, T, N_FFT // 2 + 1)``: the mel's envelope, and what it lacks."""
        x = self.norm(self.embed(mel.transpose(1, 2) / _TYPICAL_LOG_MEL).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        envelope = (mel.exp() @ self.spread).clamp(min=FLOOR).log()
        detail: Tensor = self.head(self.final_norm(x))
        return envelope + detail

    def distances(self, wave: Tensor, mel: Tensor, context: int = 0) -> tuple[Tensor, Tensor]:
        """L1 of log magnitudes, and spectral convergence, to ``wave (B, T * HOP)`` with ``mel (B, T, N_MELS)``.

        ``context`` frames at both edges, which see padding instead of speech, are not judged; nor are those
        whose window reaches over the wave's ends. Source of the second: Arik 2019 (arXiv 1808.06719, eq. 3).
        """
        edge = max(context, _EDGE)
        judged = slice(edge, mel.shape[1] - edge)
        predicted = self.log_magnitude(mel)[:, judged]
        true = magnitude(wave)[:, judged]
        log = (predicted - true.clamp(min=FLOOR).log()).abs().mean()
        missing = torch.linalg.vector_norm(predicted.exp() - true, dim=(1, 2))
        whole = torch.linalg.vector_norm(true, dim=(1, 2))
        return log, (missing / whole.clamp(min=_QUIET)).mean()


def _envelope_of_mel() -> Tensor:
    """``(N_MELS, bins)``: each bin as the weighted mean of its bands, whose mean magnitude is mel over area."""
    basis = mel_basis()
    shares = basis / basis.sum(dim=1, keepdim=True).clamp(min=torch.finfo(basis.dtype).tiny)
    return shares.T / basis.sum(dim=0)[:, None]
