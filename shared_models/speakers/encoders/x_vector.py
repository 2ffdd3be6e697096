"""x-vectors (Snyder 2018): five time-delay layers, mean and standard deviation over time, one linear map.

Contexts are t-2..t+2, {t-2, t, t+2}, {t-3, t, t+3}, t and t: 15 frames in all. In the paper a further layer of 512 and
a softmax over speakers follow, which train it and are then dropped; that is :mod:`.losses` here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared_models.speakers.encoders.tdnn import (
    NormKind,
    TdnnLayer,
    even_weights,
    masked_statistics,
    without_mean,
)

KERNELS, DILATIONS = (5, 3, 3, 1, 1), (1, 2, 3, 1, 1)


@dataclass(frozen=True, slots=True)
class XVectorSizes:
    """The defaults are the published ones, over 40 filterbanks."""

    bins: int = 40
    channels: int = 512
    """Of the first four layers."""
    aggregated: int = 1500
    """Of the fifth."""
    width: int = 512
    norm: NormKind = "batch"


class XVector(nn.Module):
    """Filterbanks ``(B, N, bins)`` to embeddings ``(B, width)``, which are compared by their cosine."""

    hears = "filterbanks_40"

    def __init__(self, sizes: XVectorSizes | None = None) -> None:
        super().__init__()
        self.sizes = s = sizes or XVectorSizes()
        widths = [s.bins, *[s.channels] * 4, s.aggregated]
        self.layers = nn.ModuleList(
            TdnnLayer(inputs, outputs, kernel, dilation, norm=s.norm)
            for inputs, outputs, kernel, dilation in zip(
                widths[:-1], widths[1:], KERNELS, DILATIONS, strict=True
            )
        )
        self.output = nn.Linear(2 * s.aggregated, s.width)

    @property
    def width(self) -> int:
        """Of an embedding."""
        return self.sizes.width

    def forward(self, spectra: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``spectra (B, N, bins)`` in decibels, of 4 steps or more; ``lengths (B,)`` where some are padded."""
        x = without_mean(spectra.transpose(1, 2), lengths)
        for layer in self.layers:
            x = layer(x, lengths)
        embedding: Tensor = self.output(torch.cat(masked_statistics(x, even_weights(x, lengths)), dim=1))
        return embedding
