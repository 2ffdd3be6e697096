"""The embedding stands beside every step of the encoder's output (SV2TTS, Jia 2018, arXiv 1806.04558, section 2.2).

One linear layer brings both back to the width H. It begins as the identity on the encoder's output and as a linear
layer on the embedding, so that a model starts as well as one without a speaker.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.partition import Owner
from shared_models.speakers.conditioning.add import Added
from shared_models.speakers.voice import Voice


class Concatenated(Added):
    """As :class:`Added`, but for how the embedding meets the encoder's output."""

    def encoder_site(self) -> nn.Module:
        """Joins the embedding to each step."""
        return JoinedEmbedding(self.sizes.embedding, self.sizes.hidden)


class JoinedEmbedding(nn.Module):
    """``x (B, L, H)`` beside the embedding ``(B, E)``, by one linear layer."""

    belongs_to = Owner.SHARED

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.join = nn.Linear(hidden + embedding, hidden)
        with torch.no_grad():
            self.join.weight[:, :hidden] = torch.eye(hidden)
            self.join.bias.zero_()

    def forward(self, x: Tensor, voice: Voice) -> Tensor:
        """``(B, L, H)`` to ``(B, L, H)``."""
        beside = voice["embedding"][:, None].expand(-1, x.shape[1], -1)
        joined: Tensor = self.join(torch.cat([x, beside], dim=-1))
        return joined
