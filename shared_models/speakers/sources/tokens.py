"""Attention over style tokens (Wang 2018, arXiv 1803.09017): the tokens are everybody's, the weights a voice's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.partition import Owner

TOKENS = 10


def heads_for(width: int) -> int:
    """Four heads, or as many as the width splits into."""
    return next(heads for heads in (4, 2, 1) if width % heads == 0)


class TokenAttention(nn.Module):
    """A query ``(B, Q)`` or ``(B, N, Q)`` to a mixture of :data:`TOKENS` tokens, ``(B, E)`` or ``(B, N, E)``."""

    belongs_to = Owner.SHARED

    def __init__(self, query: int, width: int) -> None:
        super().__init__()
        self.heads = heads_for(width)
        part = width // self.heads
        self.tokens = nn.Parameter(0.5 * torch.randn(TOKENS, part))
        self.query = nn.Linear(query, width, bias=False)
        self.key = nn.Linear(part, width, bias=False)
        self.value = nn.Linear(part, width, bias=False)

    @property
    def weights(self) -> int:
        """How many weights a voice has over the tokens, over all heads."""
        return self.heads * TOKENS

    def forward(self, query: Tensor, own: Tensor) -> Tensor:
        """``own (B, weights)`` is added to the scores: what a voice has learnt of itself."""
        scores = self._scores(query) + self._by_head(own, query.ndim)
        mixed = torch.softmax(scores, dim=-1) @ self._heads_of(self.value)
        return mixed.squeeze(-2).flatten(-2)

    def _scores(self, query: Tensor) -> Tensor:
        keys = self._heads_of(self.key)
        asked = self.query(query).unflatten(-1, (self.heads, -1)).unsqueeze(-2)
        scores: Tensor = asked @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5
        return scores

    def _heads_of(self, layer: nn.Linear) -> Tensor:
        """``(heads, TOKENS, E / heads)``."""
        by_head: Tensor = layer(torch.tanh(self.tokens)).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        return by_head

    def _by_head(self, own: Tensor, dimensions: int) -> Tensor:
        shape = (len(own), *[1] * (dimensions - 2), self.heads, 1, TOKENS)
        return own.view(shape)
