"""HiFi-GAN: transposed convolutions up to the sample rate, each followed by parallel residual stacks.

Source: J. Kong, J. Kim, J. Bae, "HiFi-GAN: Generative adversarial networks for efficient and high fidelity
speech synthesis", NeurIPS 2020 (arXiv 2010.05646). Modules bear the names of the published generator, so
that its tensors fit by name (:mod:`shared_models.vocoders.public_hifigan`).
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

_SLOPE = 0.1
_LAST_SLOPE = 0.01  # the authors' last activation has torch's default; trained weights depend on it
_KERNEL = 7


@dataclass(frozen=True, slots=True)
class HiFiGanDimensions:
    """Sizes of :class:`HiFiGan`; :data:`V1`, :data:`V2` and :data:`V3` are the paper's.

    Raises :class:`RecipeError` for sizes that do not make ``HOP`` samples of every frame.
    """

    channels: int
    """After the first convolution; halved at every rate."""
    rates: tuple[int, ...]
    kernels: tuple[int, ...]
    """Of the transposed convolutions, one for each rate."""
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    """One tuple for each of the parallel stacks."""
    paired: bool
    """Whether an undilated convolution follows each dilated one (the public configuration's resblock 1)."""

    def __post_init__(self) -> None:
        for problem, found in (
            (f"rates {self.rates} that do not multiply to {HOP}", math.prod(self.rates) != HOP),
            ("another number of kernels than of rates", len(self.kernels) != len(self.rates)),
            (
                "kernels that do not exceed their rates by an even number",
                any(k < r or (k - r) % 2 for k, r in zip(self.kernels, self.rates, strict=False)),
            ),
            (
                f"channels that are no multiple of {2 ** len(self.rates)}",
                self.channels % 2 ** len(self.rates),
            ),
            ("fewer than one channel at the end", self.channels < 2 ** len(self.rates)),
            ("no residual stack", not self.block_kernels),
            ("an even kernel in a residual stack", any(k % 2 == 0 for k in self.block_kernels)),
            ("dilations that do not fit its stacks", len(self.block_dilations) != len(self.block_kernels)),
        ):
            if found:
                raise RecipeError(f"these HiFi-GAN dimensions have {problem}; compare them with V1's")


V1 = HiFiGanDimensions(512, (8, 8, 2, 2), (16, 16, 4, 4), (3, 7, 11), ((1, 3, 5),) * 3, paired=True)
"""13.93 M parameters: the best sound."""
V2 = HiFiGanDimensions(128, (8, 8, 2, 2), (16, 16, 4, 4), (3, 7, 11), ((1, 3, 5),) * 3, paired=True)
"""0.93 M parameters: V1 with a quarter of the channels."""
V3 = HiFiGanDimensions(256, (8, 8, 4), (16, 16, 8), (3, 5, 7), ((1, 2), (2, 6), (3, 12)), paired=False)
"""1.46 M parameters: one stage fewer, the fastest of the three."""


class PairedResidualStack(nn.Module):
    """Shortcuts around pairs of convolutions, the first of each pair dilated (V1 and V2)."""

    belongs_to = Owner.SHARED

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_convolution(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_convolution(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, N)`` to the same shape."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, _SLOPE)), _SLOPE))
        return x


class ResidualStack(nn.Module):
    """Shortcuts around single dilated convolutions (V3)."""

    belongs_to = Owner.SHARED

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_convolution(channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, N)`` to the same shape."""
        for convolution in self.convs:
            x = x + convolution(F.leaky_relu(x, _SLOPE))
        return x


class HiFiGan(nn.Module):
    """The generator, with weight norm; ``fold_weight_norm`` takes it off for inference.

    It starts from torch's own initialisation. The published code asks for another, but its weight norm
    computes the weights anew at the first step, so that it trains from torch's as well.

    Example::

        wave = HiFiGan(V2)(mel)  # (B, T, 80) -> (B, T * 256)
    """

    belongs_to = Owner.SHARED

    def __init__(self, dimensions: HiFiGanDimensions = V1) -> None:
        super().__init__()
        self.dimensions = dimensions
        stack = PairedResidualStack if dimensions.paired else ResidualStack
        channels = dimensions.channels
        self.conv_pre = weight_norm(nn.Conv1d(N_MELS, channels, _KERNEL, padding=_KERNEL // 2))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(dimensions.rates, dimensions.kernels, strict=True):
            # Padded so that every rate multiplies the length exactly.
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(weight_norm(up))
            channels //= 2
            self.resblocks.extend(
                stack(channels, size, dilations)
                for size, dilations in zip(dimensions.block_kernels, dimensions.block_dilations, strict=True)
            )
        self.conv_post = weight_norm(nn.Conv1d(channels, 1, _KERNEL, padding=_KERNEL // 2))

    def forward(self, mel: Tensor) -> Tensor:
        """Wave ``(B, T * HOP)`` at 22,050 Hz, in [-1, 1], of a natural-log ``mel (B, T, N_MELS)``."""
        x = self.conv_pre(mel.transpose(1, 2))
        parallel = len(self.dimensions.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, _SLOPE))
            first, *others = self.resblocks[stage * parallel : (stage + 1) * parallel]
            total = first(x)
            for stack in others:
                total = total + stack(x)
            x = total / parallel
        wave: Tensor = self.conv_post(F.leaky_relu(x, _LAST_SLOPE)).tanh()
        return wave.squeeze(1)


def _convolution(channels: int, kernel: int, dilation: int) -> nn.Module:
    padding = dilation * (kernel - 1) // 2
    layer: nn.Module = weight_norm(nn.Conv1d(channels, channels, kernel, padding=padding, dilation=dilation))
    return layer
