"""The convolutional PostNet of Tacotron 2 (arXiv 1712.05884), with layer norms.

The original normalises by batch statistics, which mix utterances: DP-SGD refuses that, because an
utterance's gradient is then not its own, and its running statistics would be a release of private speech.
Layer norm over channels, frame by frame, takes its place; it also keeps padding out.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from shared_models.layers.transformer import zero_padding
from shared_models.layers.voiced import apply_layer
from shared_models.partition import Owner
from shared_models.speakers.voice import Voice


class PostNet(nn.Module):
    """Five convolutions of kernel 5 that add detail to a mel ``(B, T, M)``."""

    belongs_to = Owner.SHARED

    def __init__(self, n_mels: int, channels: int, dropout: float, kernel: int = 5, layers: int = 5) -> None:
        super().__init__()
        widths = [n_mels, *[channels] * (layers - 1), n_mels]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, kernel, padding=kernel // 2) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:-1])
        self.dropout = nn.Dropout(dropout)

    def forward(self, mel: Tensor, mask: Tensor, voice: Voice | None = None) -> Tensor:
        """``mel (B, T, M)`` normalised, ``mask (B, T)`` bool; to the refined mel ``(B, T, M)``."""
        x = mel
        last = len(self.convolutions) - 1
        for index, convolution in enumerate(self.convolutions):
            x = apply_layer(convolution, zero_padding(x, mask).transpose(1, 2), voice).transpose(1, 2)
            if index < last:
                x = self.dropout(torch.tanh(apply_layer(self.norms[index], x, voice)))
        return mel + x
