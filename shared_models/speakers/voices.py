"""The personal set: what one voice trains, keeps, and never sends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.partition import Owner


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

        None for what this voice does not have.
        """
        shape = (-1, self.sites, self.hidden)
        return (
            None if self.embedding is None else self.embedding(rows),
            None if self.cln_scale is None else self.cln_scale(rows).view(shape),
            None if self.cln_shift is None else self.cln_shift(rows).view(shape),
            self.prosody(rows),
        )


def _table(rows: int, width: int) -> nn.Embedding:
    # Given weights draw no random numbers, so the rest of a model starts alike for any number of voices.
    return nn.Embedding(rows, width, _weight=torch.zeros(rows, width))
