"""Conditional layer normalisation (AdaSpeech, arXiv 2103.00993): a voice as scales and shifts of the decoder's norms.

The embedding is added to the encoder's output. The maps from it to scales and shifts are one linear layer each,
weights 0, the scale's bias 1 and the shift's bias 0, so that an untrained model is one with plain layer norms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.conditional_layer_norm import ConditionalLayerNorm
from shared_models.partition import Owner
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.voice import Voice, VoiceTensor


class ConditionalNorms:
    """AdaSpeech's conditioning, at the decoder's last S norms."""

    def __init__(self, sizes: Sizes, tokens: int) -> None:  # noqa: ARG002 (a norm has no use for tokens)
        self.sizes = sizes

    def takes(self) -> tuple[VoiceTensor, ...]:
        """``embedding (E,)``, ``cln_scale`` and ``cln_shift (S, H)``."""
        by_site = (self.sizes.sites, self.sizes.hidden)
        return (
            VoiceTensor("embedding", (self.sizes.embedding,), made_by="sources"),
            VoiceTensor("cln_scale", by_site, made_by="maps", by_site=True),
            VoiceTensor("cln_shift", by_site, made_by="maps", by_site=True),
        )

    def maps(self) -> nn.Module:
        """The maps of all sites."""
        return CLNMaps(self.sizes.embedding, self.sizes.hidden, self.sizes.sites)

    def encoder_site(self) -> nn.Module:
        """Adds the embedding, as a vector of width H."""
        return AddedEmbedding(self.sizes.embedding, self.sizes.hidden)

    def norm(self) -> nn.Module:
        """A norm that takes its scale and its shift ``(B, H)``."""
        return ConditionalLayerNorm(self.sizes.hidden)


class CLNMaps(nn.Module):
    """The maps of all S sites: speaker embedding ``(B, E)`` to scales and shifts ``(B, S, H)`` each."""

    belongs_to = Owner.SHARED

    def __init__(self, embedding: int, hidden: int, sites: int) -> None:
        super().__init__()
        self.hidden, self.sites = hidden, sites
        self.scale = nn.Linear(embedding, sites * hidden)
        self.shift = nn.Linear(embedding, sites * hidden)
        self.reset()

    def reset(self) -> None:
        """Begin with scale 1 and shift 0 whatever the embedding: a plain layer norm."""
        for tensor in (self.scale.weight, self.shift.weight, self.shift.bias):
            nn.init.zeros_(tensor)
        nn.init.ones_(self.scale.bias)

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:
        """The rows of those sites."""
        kept = list(sites)
        return {
            name: tensor.view(self.sites, self.hidden, *tensor.shape[1:])[kept].flatten(0, 1)
            for name, tensor in self.state_dict().items()
        }

    def forward(self, embedding: Tensor, tokens: Tensor | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        """``(B, E)`` to ``cln_scale`` and ``cln_shift``, ``(B, S, H)`` each."""
        shape = (-1, self.sites, self.hidden)
        return {
            "cln_scale": self.scale(embedding).view(shape),
            "cln_shift": self.shift(embedding).view(shape),
        }


class AddedEmbedding(nn.Module):
    """``x (B, L, H)`` plus the embedding ``(B, E)`` by one linear map without bias."""

    belongs_to = Owner.SHARED

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden, embedding))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Linear begins

    def forward(self, x: Tensor, voice: Voice) -> Tensor:
        """``(B, L, H)`` to ``(B, L, H)``."""
        return x + F.linear(voice["embedding"], self.weight)[:, None]
