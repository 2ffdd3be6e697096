"""The personal set: what one voice trains, keeps, and never sends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.partition import Owner

NOBODY = -1
"""The row of a speaker who has none."""


class Voices(nn.Module):
    """One row a voice: an embedding, offsets of the conditional layer norms, and prosody. All 0 at first.

    On a device there is one row. Tables rather than bare parameters, because DP-SGD has per-sample
    gradients for nn.Embedding. ``embedding`` or ``sites`` 0 leaves that table out. The offsets are trained
    directly instead of the maps that make them: a few thousand numbers to noise instead of a million.
    """

    belongs_to = Owner.PERSONAL

    def __init__(self, voices: int, *, embedding: int, sites: int, hidden: int, prosody: int) -> None:
        super().__init__()
        self.sites, self.hidden = sites, hidden
        self.embedding = _table(voices, embedding) if embedding else None
        self.cln_scale = _table(voices, sites * hidden) if sites else None
        self.cln_shift = _table(voices, sites * hidden) if sites else None
        self.prosody = _table(voices, prosody)

    @torch.no_grad()
    def reset(self) -> None:
        """Begin as the average voice: every row 0."""
        for table in self.parameters():
            table.zero_()

    def forward(self, rows: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor]:
        """Rows ``(B,)`` to embedding ``(B, E)``, scale and shift offsets ``(B, S, H)``, prosody ``(B, P)``.

        None for what this voice does not have. Row :data:`NOBODY` is a newcomer's: all 0.
        """
        shape = (-1, self.sites, self.hidden)
        own = rows.clamp_min(0)
        found = (
            None if self.embedding is None else self.embedding(own),
            None if self.cln_scale is None else self.cln_scale(own).view(shape),
            None if self.cln_shift is None else self.cln_shift(own).view(shape),
            self.prosody(own),
        )
        embedding, scale, shift, prosody = (
            None if table is None else torch.where(_like(rows >= 0, table), table, 0.0) for table in found
        )
        assert prosody is not None
        return embedding, scale, shift, prosody


def _like(rows: Tensor, table: Tensor) -> Tensor:
    """``rows (B,)`` in the shape of ``table (B, ...)``, to be spread over it."""
    return rows.view(-1, *[1] * (table.dim() - 1))


def _table(rows: int, width: int) -> nn.Embedding:
    # Given weights draw no random numbers, so the rest of a model starts alike for any number of voices.
    return nn.Embedding(rows, width, _weight=torch.zeros(rows, width))
