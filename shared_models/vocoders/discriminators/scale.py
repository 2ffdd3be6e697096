"""The multi-scale discriminator: the wave, and the wave averaged once and twice.

Source: J. Kong et al., "HiFi-GAN" (2020, arXiv 2010.05646), after MelGAN's. The first scale is spectrally
normalised, the others have weight norm. The spectral norm estimates its direction anew in every training
pass and keeps the estimate in a buffer, which the partition refuses: only the other families can be federated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from shared_models.partition import Owner
from shared_models.vocoders.discriminators.judgement import Judgement

_SLOPE = 0.1
SCALES = 3


class _Layer(NamedTuple):
    channels: int
    kernel: int
    stride: int
    groups: int


_LAYERS = (
    _Layer(128, 15, 1, 1),
    _Layer(128, 41, 2, 4),
    _Layer(256, 41, 2, 16),
    _Layer(512, 41, 4, 16),
    _Layer(1024, 41, 4, 16),
    _Layer(1024, 41, 1, 16),
    _Layer(1024, 5, 1, 1),
)


class ScaleDiscriminator(nn.Module):
    """Judges the wave by grouped convolutions with long kernels."""

    belongs_to = Owner.PERSONAL

    def __init__(self, norm: Callable[..., nn.Module], width: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        before = 1
        for layer in _LAYERS:
            after = max(2, round(layer.channels * width))
            # Narrow layers cannot be cut into as many groups as the published ones.
            groups = math.gcd(layer.groups, math.gcd(before, after))
            padding = layer.kernel // 2
            self.layers.append(
                norm(nn.Conv1d(before, after, layer.kernel, layer.stride, padding=padding, groups=groups))
            )
            before = after
        self.last = norm(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores ``(B, places)`` and layers ``(B, channels, places)`` of ``wave (B, samples)``."""
        x = wave[:, None]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        x = self.last(x)
        features.append(x)
        return x[:, 0], tuple(features)


class MultiScaleDiscriminator(nn.Module):
    """Three scales, each half the rate of the one before; 29.6 million parameters at full width."""

    belongs_to = Owner.PERSONAL

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        norms: list[Callable[..., nn.Module]] = [spectral_norm, *[weight_norm] * (SCALES - 1)]
        self.discriminators = nn.ModuleList(ScaleDiscriminator(norm, width) for norm in norms)

    def forward(self, wave: Tensor) -> Judgement:
        """The judgement of ``wave (B, samples)``."""
        found = []
        for index, discriminator in enumerate(self.discriminators):
            if index:
                wave = F.avg_pool1d(wave[:, None], 4, 2, padding=2)[:, 0]
            found.append(discriminator(wave))
        return Judgement(tuple(scores for scores, _ in found), tuple(features for _, features in found))
