"""The feed-forward Transformer block of FastSpeech (arXiv 1905.09263, 2006.04558), post-norm.

Written from Linear, Conv1d and layer norm alone, because those are what DP-SGD has per-sample gradients
for (torch's own MultiheadAttention is refused).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.voiced import Tensors, apply_layer
from shared_models.partition import Owner


class SelfAttention(nn.Module):
    """Multi-head self-attention over the real steps of each sequence."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, mask: Tensor | None, voice: Tensors | None = None) -> Tensor:
        """``x (B, N, H)``, ``mask (B, N)`` bool or None where every step is real; to ``(B, N, H)``."""
        attended = F.scaled_dot_product_attention(
            self._split(apply_layer(self.query, x, voice)),
            self._split(apply_layer(self.key, x, voice)),
            self._split(apply_layer(self.value, x, voice)),
            attn_mask=None if mask is None else mask[:, None, None, :],
        )
        return apply_layer(self.output, attended.transpose(1, 2).flatten(2), voice)

    def _split(self, x: Tensor) -> Tensor:
        batch, steps, hidden = x.shape
        return x.view(batch, steps, self.heads, hidden // self.heads).transpose(1, 2)


class ConvolutionalFeedForward(nn.Module):
    """Two convolutions over time, ``H -> filter -> H``; the second has kernel 1."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, filter: int, kernel: int) -> None:
        super().__init__()
        self.expand = nn.Conv1d(hidden, filter, kernel, padding=kernel // 2)
        self.contract = nn.Conv1d(filter, hidden, 1)

    def forward(self, x: Tensor, voice: Tensors | None = None) -> Tensor:
        """``(B, N, H)``, zero where padded, to ``(B, N, H)``."""
        expanded = F.relu(apply_layer(self.expand, x.transpose(1, 2), voice))
        return apply_layer(self.contract, expanded, voice).transpose(1, 2)


class FFTBlock(nn.Module):
    """Self-attention and a convolutional feed-forward, each with a residual and one of the two ``norms`` after it."""

    belongs_to = Owner.SHARED

    def __init__(
        self,
        hidden: int,
        heads: int,
        filter: int,
        kernel: int,
        dropout: float,
        norms: tuple[nn.Module, nn.Module],
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(hidden, heads)
        self.feed_forward = ConvolutionalFeedForward(hidden, filter, kernel)
        self.attention_norm, self.feed_forward_norm = norms
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        voice: Tensors | None = None,
        *,
        padded: bool = True,
    ) -> Tensor:
        """``x (B, N, H)`` zero where padded, ``mask (B, N)`` bool; to ``(B, N, H)``, zero where padded.

        ``voice`` is told to the norms and layers that take one. ``padded`` False promises that ``mask`` is
        all true, which spares the work of masking.
        """
        attended = self.dropout(self.attention(x, mask if padded else None, voice))
        x = zero_padding(apply_layer(self.attention_norm, x + attended, voice), mask, padded)
        fed = self.dropout(self.feed_forward(x, voice))
        return zero_padding(apply_layer(self.feed_forward_norm, x + fed, voice), mask, padded)


def zero_padding(x: Tensor, mask: Tensor, padded: bool = True) -> Tensor:
    """``x (B, N, C)`` with the steps outside ``mask (B, N)`` set to 0, so that no convolution reads them."""
    return x * mask[..., None] if padded else x
