"""Layer normalisation whose scale and shift come from outside: conditional layer norm (AdaSpeech, arXiv 2103.00993)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.voiced import Tensors, Voiced
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


class SiteNorm(Voiced, nn.Module):
    """The conditional norm of one site, which finds its scale and shift among the voice's."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, scale: str, shift: str, site: int) -> None:
        """``scale`` and ``shift`` name tensors ``(B, S, H)`` of a voice; ``site`` is the row of S."""
        super().__init__()
        self.norm = ConditionalLayerNorm(hidden)
        self.scale, self.shift, self.site = scale, shift, site

    def forward(self, x: Tensor, voice: Tensors) -> Tensor:
        """``x (B, N, H)`` to ``(B, N, H)``."""
        normalised: Tensor = self.norm(x, voice[self.scale][:, self.site], voice[self.shift][:, self.site])
        return normalised
