"""StyleSpeech's mel-style encoder (arXiv 2106.03153): a voice from one recording, without any training.

Spectral layers frame by frame, gated convolutions over time, self-attention, then the mean over frames. At
reduced width, and with a layer norm on the mean, so that a new network and a personal embedding that is
added to it start on the same scale.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.audio.normalisation import normalise_mel
from shared_models.layers.sequences import valid_steps
from shared_models.layers.transformer import SelfAttention, zero_padding
from shared_models.partition import Owner


class GatedConvolution(nn.Module):
    """A convolution with a gated linear unit, and a residual: ``(B, N, C)`` to ``(B, N, C)``."""

    belongs_to = Owner.SHARED

    def __init__(self, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, 2 * channels, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (B, N, C)``, ``mask (B, N)`` bool."""
        convolved = self.convolution(zero_padding(x, mask).transpose(1, 2)).transpose(1, 2)
        gated: Tensor = self.dropout(F.glu(convolved, dim=-1))
        return x + gated


class MelStyleEncoder(nn.Module):
    """A reference mel ``(B, R, M)`` to a style embedding ``(B, E)``."""

    belongs_to = Owner.SHARED

    def __init__(
        self, n_mels: int, embedding: int, *, channels: int, dropout: float, heads: int = 2, kernel: int = 5
    ) -> None:
        super().__init__()
        self.spectral = nn.Sequential(
            nn.Linear(n_mels, channels),
            nn.Mish(),
            nn.Dropout(dropout),
            nn.Linear(channels, channels),
            nn.Mish(),
            nn.Dropout(dropout),
        )
        self.temporal = nn.ModuleList(GatedConvolution(channels, kernel, dropout) for _ in range(2))
        self.attention = SelfAttention(channels, heads)
        self.output = nn.Linear(channels, embedding)
        self.norm = nn.LayerNorm(embedding)

    def forward(self, mel: Tensor, lengths: Tensor) -> Tensor:
        """``mel (B, R, M)`` natural log, ``lengths (B,)``; to ``(B, E)``."""
        mask = valid_steps(lengths, mel.shape[1])
        x = self.spectral(normalise_mel(mel))
        for layer in self.temporal:
            x = layer(x, mask)
        x = zero_padding(x, mask)
        x = zero_padding(self.output(x + self.attention(x, mask)), mask)
        style: Tensor = self.norm(x.sum(1) / lengths[:, None])
        return style
