"""What several sources make of a mel: a style for each fourth frame, and means of parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.audio.normalisation import normalise_mel
from shared_models.layers.sequences import valid_steps
from shared_models.partition import Owner

KERNEL = 5


class FrameEncoder(nn.Module):
    """Three convolutions, two of stride 2: mels ``(B, R, M)`` to ``(B, ceil(R / 4), width)``."""

    belongs_to = Owner.SHARED

    def __init__(self, n_mels: int, channels: int, width: int) -> None:
        super().__init__()
        widths, self.strides = (n_mels, channels, channels, channels), (1, 2, 2)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, KERNEL, stride=stride, padding=KERNEL // 2)
            for inputs, outputs, stride in zip(widths[:-1], widths[1:], self.strides, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.strides)
        self.output = nn.Linear(channels, width)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``mel (B, R, M)``, ``lengths (B,)`` of 1 or more; the styles and their lengths ``(B,)``."""
        x = normalise_mel(mel)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.strides, strict=True):
            x = convolution((x * valid_steps(lengths, x.shape[1])[:, :, None]).transpose(1, 2)).transpose(
                1, 2
            )
            x = torch.relu(norm(x))
            lengths = lengths if stride == 1 else halved_lengths(lengths)
        return self.output(x), lengths


def halved_lengths(lengths: Tensor) -> Tensor:
    """What a stride of 2 leaves of ``lengths (B,)``."""
    return (lengths + 1) // 2


def part_means(x: Tensor, lengths: Tensor, parts: int) -> Tensor:
    """``(B, parts, C)``: means over equal parts of each row's own steps of ``x (B, N, C)``.

    A row of fewer steps than parts gives each part its nearest step.
    """
    edges = torch.arange(parts + 1, device=x.device) * lengths[:, None] // parts
    first, last = edges[:, :-1], torch.maximum(edges[:, 1:], edges[:, :-1] + 1)
    steps = torch.arange(x.shape[1], device=x.device)
    inside = (steps >= first[:, :, None]) & (steps < last[:, :, None])
    weights = inside.to(x.dtype)
    return weights @ x / weights.sum(2, keepdim=True).clamp_min(1.0)
