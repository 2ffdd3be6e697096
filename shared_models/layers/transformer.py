"""The feed-forward Transformer block of FastSpeech (arXiv 1905.09263, 2006.04558), post-norm.

Written from Linear, Conv1d and layer norm alone, because those are what DP-SGD has per-sample gradients
for (torch's own MultiheadAttention is refused).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.partition import Owner

Style = tuple[Tensor, ...]
"""What one norm takes of the speaker, each ``(B, ...)``: a scale and a shift ``(B, H)``, for instance."""


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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``x (B, N, H)``, ``mask (B, N)`` bool or None where every step is real; to ``(B, N, H)``."""
        attended = F.scaled_dot_product_attention(
            self._split(self.query(x)),
            self._split(self.key(x)),
            self._split(self.value(x)),
            attn_mask=None if mask is None else mask[:, None, None, :],
        )
        joined: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return joined

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

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, H)``, zero where padded, to ``(B, N, H)``."""
        contracted: Tensor = self.contract(F.relu(self.expand(x.transpose(1, 2))))
        return contracted.transpose(1, 2)


class FFTBlock(nn.Module):
    """Self-attention and a convolutional feed-forward, each with a residual and a norm after it.

    ``norms`` are the two norms; layer norms whose scale and shift are learnt and everybody's if None.
    """

    belongs_to = Owner.SHARED

    def __init__(
        self,
        hidden: int,
        heads: int,
        filter: int,
        kernel: int,
        dropout: float,
        norms: tuple[nn.Module, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(hidden, heads)
        self.feed_forward = ConvolutionalFeedForward(hidden, filter, kernel)
        self.attention_norm, self.feed_forward_norm = norms or (nn.LayerNorm(hidden), nn.LayerNorm(hidden))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        styles: tuple[Style | None, Style | None] = (None, None),
        *,
        padded: bool = True,
    ) -> Tensor:
        """``x (B, N, H)`` zero where padded, ``mask (B, N)`` bool; to ``(B, N, H)``, zero where padded.

        ``styles`` are the speaker's for the norms that take one. ``padded`` False promises that ``mask`` is
        all true, which spares the work of masking.
        """
        attended = self.dropout(self.attention(x, mask if padded else None))
        x = zero_padding(apply_norm(self.attention_norm, x + attended, styles[0]), mask, padded)
        fed = self.dropout(self.feed_forward(x))
        return zero_padding(apply_norm(self.feed_forward_norm, x + fed, styles[1]), mask, padded)


def apply_norm(norm: nn.Module, x: Tensor, style: Style | None) -> Tensor:
    """``x (B, N, H)`` through a norm; conditional ones take a ``style``."""
    normalised: Tensor = norm(x) if style is None else norm(x, *style)
    return normalised


def zero_padding(x: Tensor, mask: Tensor, padded: bool = True) -> Tensor:
    """``x (B, N, C)`` with the steps outside ``mask (B, N)`` set to 0, so that no convolution reads them."""
    return x * mask[..., None] if padded else x
