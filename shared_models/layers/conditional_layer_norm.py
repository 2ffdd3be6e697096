"""Conditional layer normalisation (AdaSpeech, arXiv 2103.00993): a voice as scales and shifts.

``LN(x)`` without an affine part of its own, then ``scale * x + shift`` where both come from the speaker.
Source of the maps: one linear layer each from the speaker embedding, weights 0, the scale's bias 1 and the
shift's bias 0, so that an untrained model is one with plain layer norms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.partition import Owner


class ConditionalLayerNorm(nn.Module):
    """Normalises over the last dimension, then applies the speaker's scale and shift. No parameters."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """``x (B, N, H)``, ``scale`` and ``shift (B, H)`` to ``(B, N, H)``."""
        normalised = F.layer_norm(x, (self.hidden,))
        return torch.addcmul(shift[:, None], normalised, scale[:, None])


class CLNMaps(nn.Module):
    """The maps of all S sites: speaker embedding ``(B, E)`` to scales and shifts ``(B, S, H)`` each.

    ``owner`` is PERSONAL where the maps themselves are what a voice trains (AdaSpeech's own choice).
    """

    def __init__(self, embedding: int, hidden: int, sites: int, owner: Owner = Owner.SHARED) -> None:
        super().__init__()
        self.belongs_to = owner
        self.hidden, self.sites = hidden, sites
        self.scale = nn.Linear(embedding, sites * hidden)
        self.shift = nn.Linear(embedding, sites * hidden)
        self.reset()

    def reset(self) -> None:
        """Begin with scale 1 and shift 0 whatever the embedding: a plain layer norm."""
        for tensor in (self.scale.weight, self.shift.weight, self.shift.bias):
            nn.init.zeros_(tensor)
        nn.init.ones_(self.scale.bias)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, E)`` to scale and shift, ``(B, S, H)`` each."""
        shape = (-1, self.sites, self.hidden)
        return self.scale(embedding).view(shape), self.shift(embedding).view(shape)
