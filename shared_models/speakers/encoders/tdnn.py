"""Layers of time-delay networks: convolutions that keep the length, their norms, and statistics over time.

A network of these layers has a ``norm``. ``batch`` is what is published: batch norms, and edges continued by
reflection. Batch norms have running statistics, which can be neither clipped nor noised, and mix the utterances of a
batch. So a network that a federation trains takes ``layer``: layer norms over the channels of each step, and zeros
around the edges. Either way an utterance's result does not depend on how far it is padded.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.sequences import valid_steps

NormKind = Literal["batch", "layer"]
SMALLEST_VARIANCE = 1e-12


class Norm(nn.Module):
    """A norm of ``(B, C, N)``, over batch and time or over the channels of each step."""

    def __init__(self, channels: int, kind: NormKind) -> None:
        super().__init__()
        self.kind = kind
        self.norm: nn.Module = nn.BatchNorm1d(channels) if kind == "batch" else nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N)`` to ``(B, C, N)``."""
        if self.kind == "batch":
            normalised: Tensor = self.norm(x)
            return normalised
        by_step: Tensor = self.norm(x.transpose(1, 2))
        return by_step.transpose(1, 2)


class SameConvolution(nn.Module):
    """A convolution over time ``(B, C, N)`` that keeps the length."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, *, reflects: bool = True
    ) -> None:
        super().__init__()
        self.margin, self.reflects = dilation * (kernel - 1) // 2, reflects
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``x (B, C, N)``; ``lengths (B,)`` where some are padded. Reflection needs more steps than the margin."""
        if self.margin:
            x = self._widened(x, lengths)
        convolved: Tensor = self.conv(x)
        return convolved

    def _widened(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        edges = (self.margin, self.margin)
        if not self.reflects:
            return F.pad(x if lengths is None else x * _mask(x, lengths), edges)
        if lengths is None:
            return F.pad(x, edges, mode="reflect")
        return x.gather(2, self._reflected(x, lengths))

    def _reflected(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``(B, C, N + 2 margins)``: which step stands where, each row reflected at its own end."""
        steps = torch.arange(-self.margin, x.shape[2] + self.margin, device=x.device).abs()
        last = (lengths - 1)[:, None]
        inner = torch.where(steps > last, 2 * last - steps, steps).clamp_min(0)
        return inner[:, None].expand(-1, x.shape[1], -1)


class TdnnLayer(nn.Module):
    """Convolution, ReLU, norm, in this order: ``(B, C, N)`` to ``(B, C', N)``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, *, norm: NormKind = "batch"
    ) -> None:
        super().__init__()
        self.conv = SameConvolution(inputs, outputs, kernel, dilation, reflects=norm == "batch")
        self.norm = Norm(outputs, norm)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``x (B, C, N)``, ``lengths (B,)``."""
        normalised: Tensor = self.norm(torch.relu(self.conv(x, lengths)))
        return normalised


def masked_statistics(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over time ``(B, C)`` of ``x (B, C, N)``; ``weights (B, 1 or C, N)`` add up to 1."""
    mean = (weights * x).sum(2)
    variance = (weights * (x - mean[:, :, None]).square()).sum(2)
    return mean, variance.clamp_min(SMALLEST_VARIANCE).sqrt()


def even_weights(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``(B, 1, N)``: the same for each step of ``x (B, C, N)`` that is real, adding up to 1."""
    mask = _mask(x, lengths)
    return mask / mask.sum(2, keepdim=True).clamp_min(1.0)


def without_mean(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``x (B, C, N)`` less its mean over time, 0 where it is padded: SpeechBrain's sentence normalisation."""
    mean = (even_weights(x, lengths) * x).sum(2, keepdim=True)
    return (x - mean) * _mask(x, lengths)


def _mask(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``(B, 1, N)``: 1 where a step is real."""
    if lengths is None:
        return x.new_ones(len(x), 1, x.shape[2])
    return valid_steps(lengths, x.shape[2])[:, None].to(x.dtype)
