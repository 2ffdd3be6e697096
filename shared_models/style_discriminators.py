"""Meta-StyleSpeech's judges of speech whose recording does not exist. Min 2021 (arXiv 2106.03153, section 3.3).

A query is a text that a support's style is to say. Nobody recorded that, so that there is no error to go down. One
judge says whether the mel is of the style of the speaker, by a learnt prototype of each speaker; another says whether
it is speech of the phonemes, frame by frame. Layers are the authors' code's where the paper leaves them open. Both
serve training and are part of no voice.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from shared_models.audio.normalisation import normalise_mel
from shared_models.layers.sequences import masked_mean
from shared_models.layers.transformer import SelfAttention, zero_padding
from shared_models.partition import Owner

_SLOPE = 0.1
_KERNEL = 5
_HEADS = 2


class StyleDiscriminator(nn.Module):
    """Whether a mel is of a speaker's style, and the speakers' prototypes ``(S, E)``."""

    belongs_to = Owner.PERSONAL

    def __init__(self, n_mels: int, channels: int, embedding: int, speakers: int) -> None:
        super().__init__()
        self.spectral = nn.ModuleList([nn.Linear(n_mels, channels), nn.Linear(channels, channels)])
        self.temporal = nn.ModuleList(
            nn.Conv1d(channels, channels, _KERNEL, padding=_KERNEL // 2) for _ in range(2)
        )
        self.attention = SelfAttention(channels, _HEADS)
        self.output = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, embedding, bias=False)
        for layer in [*self.modules()]:
            if isinstance(layer, (nn.Linear, nn.Conv1d)):
                spectral_norm(layer)
        self.prototypes = nn.Parameter(torch.randn(speakers, embedding) * embedding**-0.5)
        self.scale, self.bias = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, mel: Tensor, mask: Tensor, speakers: Tensor) -> Tensor:
        """Scores ``(B,)`` of ``mel (B, T, n_mels)``, natural log, for ``speakers (B,)`` int64; ``mask (B, T)`` bool."""
        x = normalise_mel(mel)
        for layer in self.spectral:
            x = F.leaky_relu(layer(x), _SLOPE)
        for layer in self.temporal:
            convolved = layer(zero_padding(x, mask).transpose(1, 2)).transpose(1, 2)
            x = x + F.leaky_relu(convolved, _SLOPE)
        x = zero_padding(x, mask)
        x = self.output(x + self.attention(x, mask))
        heard = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        alike = (self.prototypes[speakers] * self.projection(heard)).sum(1)
        scores: Tensor = self.scale * alike + self.bias
        return scores

    def classification_loss(self, styles: Tensor, speakers: Tensor) -> Tensor:
        """Cross-entropy ``(B,)`` of ``styles (B, E)`` against the prototypes, by their products."""
        return F.cross_entropy(styles @ self.prototypes.T, speakers, reduction="none")


class PhonemeDiscriminator(nn.Module):
    """Whether frames are speech of the phonemes that they are to be."""

    belongs_to = Owner.PERSONAL

    def __init__(self, n_mels: int, hidden: int) -> None:
        super().__init__()
        self.heard = nn.ModuleList([nn.Linear(n_mels, hidden), nn.Linear(hidden, hidden)])
        widths = [2 * hidden, hidden, hidden, hidden]
        self.joined = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.score = nn.Linear(hidden, 1)

    def forward(self, mel: Tensor, phonemes: Tensor, mask: Tensor) -> Tensor:
        """Mean scores ``(B,)`` over the frames ``mask (B, T)`` bool of ``mel (B, T, n_mels)``, natural log.

        ``phonemes (B, T, H)`` is the embedding of each frame's phoneme.
        """
        x = normalise_mel(mel)
        for layer in self.heard:
            x = F.leaky_relu(layer(x), _SLOPE)
        x = torch.cat([x, phonemes], dim=-1)
        for layer in self.joined:
            x = F.leaky_relu(layer(x), _SLOPE)
        return masked_mean(self.score(x).squeeze(-1), mask)
