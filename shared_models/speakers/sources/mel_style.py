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
from shared_models.speakers.heard import MEL, Heard
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.voice import VoiceTensor

HEADS = 2
KERNEL = 5
"""Of the gated convolutions."""


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
    hears = (MEL,)
    tokens = 0
    alone = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels, dropout = sizes.style_channels, sizes.dropout
        self.spectral = nn.Sequential(
            nn.Linear(sizes.n_mels, channels),
            nn.Mish(),
            nn.Dropout(dropout),
            nn.Linear(channels, channels),
            nn.Mish(),
            nn.Dropout(dropout),
        )
        self.temporal = nn.ModuleList(GatedConvolution(channels, KERNEL, dropout) for _ in range(2))
        self.attention = SelfAttention(channels, HEADS)
        self.output = nn.Linear(channels, sizes.embedding)
        self.norm = nn.LayerNorm(sizes.embedding)

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Nothing: a voice is heard anew."""
        return ()

    def forward(self, heard: Heard) -> Contribution:
        """The style of each row's reference, and 0 for an empty one: the voice of nobody."""
        mel = heard.signals[MEL]
        style = self.style(mel.values, mel.lengths.clamp_min(1))
        return Contribution(style * (mel.lengths > 0)[:, None])

    def pool(self, each: Contribution) -> Contribution:
        """The mean style over the recordings."""
        return each.mean()

    def style(self, mel: Tensor, lengths: Tensor) -> Tensor:
        """``mel (B, R, M)`` natural log, ``lengths (B,)`` of 1 or more; to ``(B, E)``."""
        mask = valid_steps(lengths, mel.shape[1])
        x = self.spectral(normalise_mel(mel))
        for layer in self.temporal:
            x = layer(x, mask)
        x = zero_padding(x, mask)
        x = zero_padding(self.output(x + self.attention(x, mask)), mask)
        style: Tensor = self.norm(x.sum(1) / lengths[:, None])
        return style
