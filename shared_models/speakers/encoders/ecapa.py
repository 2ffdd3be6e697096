"""ECAPA-TDNN (Desplanques 2020, arXiv 2005.07143), as SpeechBrain builds it: its weights load by their own names.

Squeeze-excitation Res2Net blocks, aggregation of all of them, and attentive statistics pooling. Two well-known
programs differ, and this is the second: the paper's authors feed a block the sum of all earlier outputs, SpeechBrain
the last one; the group that stays unconvolved is the last there and the first here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared_models.speakers.encoders.tdnn import (
    Norm,
    NormKind,
    SameConvolution,
    TdnnLayer,
    even_weights,
    masked_statistics,
    without_mean,
)

DILATIONS = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class EcapaSizes:
    """The defaults are the paper's C = 512."""

    bins: int = 80
    channels: int = 512
    """C, a multiple of ``scale``."""
    aggregated: int = 1536
    attention: int = 128
    squeezed: int = 128
    scale: int = 8
    """Groups of a Res2Net block."""
    width: int = 192
    norm: NormKind = "batch"


class Res2Net(nn.Module):
    """Channels in groups; each is added the one before it and convolved, the first stays (arXiv 1904.01169)."""

    def __init__(self, channels: int, scale: int, dilation: int, norm: NormKind) -> None:
        super().__init__()
        self.scale, group = scale, channels // scale
        self.blocks = nn.ModuleList(TdnnLayer(group, group, 3, dilation, norm=norm) for _ in range(scale - 1))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """``(B, C, N)`` to ``(B, C, N)``."""
        first, *rest = x.chunk(self.scale, dim=1)
        done = [first]
        for number, (layer, group) in enumerate(zip(self.blocks, rest, strict=True)):
            done.append(layer(group if number == 0 else group + done[-1], lengths))
        return torch.cat(done, dim=1)


class SqueezeExcitation(nn.Module):
    """Channels weighted by what their means over time say (arXiv 1709.01507)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1 = SameConvolution(channels, squeezed)
        self.conv2 = SameConvolution(squeezed, channels)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """``(B, C, N)`` to ``(B, C, N)``."""
        mean = (even_weights(x, lengths) * x).sum(2, keepdim=True)
        return x * torch.sigmoid(self.conv2(torch.relu(self.conv1(mean))))


class SERes2NetBlock(nn.Module):
    """``(B, C, N)`` to ``(B, C, N)``, with a residual."""

    def __init__(self, sizes: EcapaSizes, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = TdnnLayer(sizes.channels, sizes.channels, norm=sizes.norm)
        self.res2net_block = Res2Net(sizes.channels, sizes.scale, dilation, sizes.norm)
        self.tdnn2 = TdnnLayer(sizes.channels, sizes.channels, norm=sizes.norm)
        self.se_block = SqueezeExcitation(sizes.channels, sizes.squeezed)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """``x (B, C, N)``, ``lengths (B,)``."""
        y = self.tdnn2(self.res2net_block(self.tdnn1(x, lengths), lengths), lengths)
        excited: Tensor = self.se_block(y, lengths)
        return excited + x


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time ``(B, 2C, 1)``, each channel with an attention of its own."""

    def __init__(self, channels: int, attention: int, norm: NormKind) -> None:
        super().__init__()
        self.tdnn = TdnnLayer(3 * channels, attention, norm=norm)
        self.conv = SameConvolution(attention, channels)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """``x (B, C, N)``, ``lengths (B,)``."""
        even = even_weights(x, lengths)
        context = [each[:, :, None].expand_as(x) for each in masked_statistics(x, even)]
        scores = self.conv(torch.tanh(self.tdnn(torch.cat([x, *context], dim=1), lengths)))
        weights = torch.softmax(scores.masked_fill(even == 0, float("-inf")), dim=2)
        return torch.cat(masked_statistics(x, weights), dim=1)[:, :, None]


class Ecapa(nn.Module):
    """Filterbanks ``(B, N, bins)`` to embeddings ``(B, width)``, which are compared by their cosine."""

    hears = "filterbanks_80"

    def __init__(self, sizes: EcapaSizes | None = None) -> None:
        super().__init__()
        self.sizes = s = sizes or EcapaSizes()
        self.blocks = nn.ModuleList(
            [
                TdnnLayer(s.bins, s.channels, 5, norm=s.norm),
                *(SERes2NetBlock(s, dilation) for dilation in DILATIONS),
            ]
        )
        self.mfa = TdnnLayer(len(DILATIONS) * s.channels, s.aggregated, norm=s.norm)
        self.asp = AttentiveStatistics(s.aggregated, s.attention, s.norm)
        self.asp_bn = Norm(2 * s.aggregated, s.norm)
        self.fc = SameConvolution(2 * s.aggregated, s.width)

    @property
    def width(self) -> int:
        """Of an embedding."""
        return self.sizes.width

    def forward(self, spectra: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``spectra (B, N, bins)`` in decibels, of 5 steps or more; ``lengths (B,)`` where some are padded."""
        x, outputs = without_mean(spectra.transpose(1, 2), lengths), []
        for block in self.blocks:
            x = block(x, lengths)
            outputs.append(x)
        x = self.mfa(torch.cat(outputs[1:], dim=1), lengths)
        embedding: Tensor = self.fc(self.asp_bn(self.asp(x, lengths)))[:, :, 0]
        return embedding
