"""Sinusoidal positions (Vaswani 2017, arXiv 1706.03762), for sequences of any length."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.partition import Owner

TABLED = 2048
"""Positions kept ready: 24 s of frames. Longer sequences get a longer table on the fly."""


def sinusoid(length: int, hidden: int) -> Tensor:
    """``(length, hidden)``: sines in the even columns, cosines in the odd ones."""
    # In float64, because float32 angles are off by radians after some minutes of frames.
    frequencies = torch.exp(torch.arange(0, hidden, 2, dtype=torch.float64) * (-math.log(10_000.0) / hidden))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :hidden].float()


class SinusoidalPositions(nn.Module):
    """A row of the table for each position: ``(B, N)`` int64 to ``(B, N, hidden)``."""

    belongs_to = Owner.CONSTANT

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("table", sinusoid(TABLED, hidden), persistent=False)

    def forward(self, positions: Tensor, end: int) -> Tensor:
        """``(B, N)`` int64, all below ``end``, to ``(B, N, hidden)``."""
        table = cast(Tensor, self.table)
        if end > len(table):
            table = sinusoid(end, self.hidden).to(table)
        # Refuses rows on another device, where indexing would take them.
        return F.embedding(positions, table)
