"""MelGAN's discriminators: windows of the wave at three scales.

Source: K. Kumar et al., "MelGAN" (2019, arXiv 1910.06711). The features to match are those before the score.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from shared_models.partition import Owner
from shared_models.vocoders.discriminators.judgement import Judgement

_SLOPE = 0.2
_SCALES = 3
_DOWN = 4
_CHANNELS = (16, 64, 256, 1024, 1024)


class WindowDiscriminator(nn.Module):
    """Four strided, grouped convolutions; each score sees a window of a few thousand samples."""

    belongs_to = Owner.PERSONAL

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = [max(2, round(count * width)) for count in _CHANNELS]
        layers = [nn.Conv1d(1, channels[0], 15)]
        for before, after in pairwise(channels):
            # Four channels a group, where that divides.
            groups = math.gcd(math.gcd(max(1, before // 4), after), before)
            kernel, padding = 10 * _DOWN + 1, 5 * _DOWN
            layers.append(nn.Conv1d(before, after, kernel, _DOWN, padding=padding, groups=groups))
        layers.append(nn.Conv1d(channels[-1], channels[-1], 5, padding=2))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, wave: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores ``(B, places)`` and layers ``(B, channels, places)`` of ``wave (B, samples)``."""
        x = F.pad(wave[:, None], (7, 7), mode="reflect")
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return self.last(x)[:, 0], tuple(features)


class MelGanDiscriminator(nn.Module):
    """The wave, and the wave averaged once and twice; 16.9 million parameters at full width."""

    belongs_to = Owner.PERSONAL

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(WindowDiscriminator(width) for _ in range(_SCALES))

    def forward(self, wave: Tensor) -> Judgement:
        """The judgement of ``wave (B, samples)``."""
        found = []
        for index, discriminator in enumerate(self.discriminators):
            if index:
                pooled = F.avg_pool1d(wave[:, None], 4, 2, padding=1, count_include_pad=False)
                wave = pooled[:, 0]
            found.append(discriminator(wave))
        return Judgement(tuple(scores for scores, _ in found), tuple(features for _, features in found))
