"""MelGAN: transposed convolutions up to the sample rate, with dilated residual blocks in between.

Source: K. Kumar et al., "MelGAN: Generative adversarial networks for conditional waveform synthesis",
NeurIPS 2019 (arXiv 1910.06711). It is trained on this repository's mel, not on the paper's (log10, up to
the Nyquist frequency), so that weights published for it do not fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from shared_models.audio.mel import HOP, N_MELS
from shared_models.errors import RecipeError
from shared_models.partition import Owner

_SLOPE = 0.2
_KERNEL = 7
_DILATION_BASE = 3


@dataclass(frozen=True, slots=True)
class MelGanDimensions:
    """Sizes of :class:`MelGan`; the paper's by default (4.26 M parameters).

    Raises :class:`RecipeError` for sizes that do not make ``HOP`` samples of every frame.
    """

    channels: int = 512
    """After the first convolution; halved at every rate."""
    rates: tuple[int, ...] = (8, 8, 2, 2)
    blocks: int = 3
    """Residual blocks after each rate, with dilations 1, 3, 9, ..."""

    def __post_init__(self) -> None:
        if math.prod(self.rates) != HOP:
            raise RecipeError(f"MelGAN's rates {self.rates} must multiply to {HOP}")
        if self.channels < 2 ** len(self.rates) or self.channels % 2 ** len(self.rates):
            raise RecipeError(
                f"MelGAN's {self.channels} channels must be a multiple of {2 ** len(self.rates)}, "
                "since every rate halves them"
            )


class MelGanBlock(nn.Module):
    """A dilated convolution and a pointwise one, beside a pointwise shortcut."""

    belongs_to = Owner.SHARED

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilated = weight_norm(
            nn.Conv1d(channels, channels, 3, dilation=dilation, padding=dilation, padding_mode="reflect")
        )
        self.pointwise = weight_norm(nn.Conv1d(channels, channels, 1))
        self.shortcut = weight_norm(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, N)`` to the same shape; N must exceed the dilation."""
        changed = self.pointwise(F.leaky_relu(self.dilated(F.leaky_relu(x, _SLOPE)), _SLOPE))
        summed: Tensor = self.shortcut(x) + changed
        return summed


class MelGan(nn.Module):
    """The generator, with weight norm; ``fold_weight_norm`` takes it off for inference.

    Example::

        wave = MelGan()(mel)  # (B, T, 80) -> (B, T * 256)
    """

    belongs_to = Owner.SHARED

    def __init__(self, dimensions: MelGanDimensions | None = None) -> None:
        super().__init__()
        sizes = dimensions or MelGanDimensions()
        self.dimensions = sizes
        channels = sizes.channels
        self.first = weight_norm(
            nn.Conv1d(N_MELS, channels, _KERNEL, padding=_KERNEL // 2, padding_mode="reflect")
        )
        self.ups = nn.ModuleList()
        self.stages = nn.ModuleList()
        for rate in sizes.rates:
            odd = rate % 2
            up = nn.ConvTranspose1d(
                channels, channels // 2, 2 * rate, rate, padding=rate // 2 + odd, output_padding=odd
            )
            self.ups.append(weight_norm(up))
            channels //= 2
            self.stages.append(
                nn.Sequential(*(MelGanBlock(channels, _DILATION_BASE**i) for i in range(sizes.blocks)))
            )
        self.last = weight_norm(nn.Conv1d(channels, 1, _KERNEL, padding=_KERNEL // 2, padding_mode="reflect"))
        self._fewest_frames = _fewest_frames(sizes)

    def forward(self, mel: Tensor) -> Tensor:
        """Wave ``(B, T * HOP)`` at 22,050 Hz, in [-1, 1], of a natural-log ``mel (B, T, N_MELS)``."""
        frames = mel.shape[1]
        x = mel.transpose(1, 2)
        if frames < self._fewest_frames:  # too short to reflect: the last frame is held, then cut off
            x = F.pad(x, (0, self._fewest_frames - frames), mode="replicate")
        x = self.first(x)
        for up, stage in zip(self.ups, self.stages, strict=True):
            x = stage(up(F.leaky_relu(x, _SLOPE)))
        wave: Tensor = self.last(F.leaky_relu(x, _SLOPE)).tanh()
        return wave.squeeze(1)[:, : frames * HOP]


def _fewest_frames(sizes: MelGanDimensions) -> int:
    """A reflection needs more steps than it adds, at the frame rate and after the first rate."""
    widest: int = _DILATION_BASE ** max(sizes.blocks - 1, 0)
    return max(_KERNEL // 2, widest // sizes.rates[0]) + 1
