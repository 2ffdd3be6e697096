"""The multi-period discriminator: every p-th sample, side by side.

Source: J. Kong et al., "HiFi-GAN" (2020, arXiv 2010.05646). Its two-dimensional convolutions with kernels
``(5, 1)`` see one column at a time; here the p columns are rows of the batch of a one-dimensional
convolution, which is the same function and faster without an accelerator.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from shared_models.partition import Owner
from shared_models.vocoders.discriminators.judgement import Judgement

PERIODS = (2, 3, 5, 7, 11)
_CHANNELS = (32, 128, 512, 1024, 1024)
_STRIDES = (3, 3, 3, 3, 1)
_SLOPE = 0.1


class PeriodDiscriminator(nn.Module):
    """Judges the wave folded into columns of every ``period``-th sample."""

    belongs_to = Owner.PERSONAL

    def __init__(self, period: int, width: float = 1.0) -> None:
        super().__init__()
        self.period = period
        channels = [1, *(max(2, round(count * width)) for count in _CHANNELS)]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(before, after, 5, stride, padding=2))
            for (before, after), stride in zip(pairwise(channels), _STRIDES, strict=True)
        )
        self.last = weight_norm(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, wave: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores ``(B, places)`` and layers ``(B * period, channels, rows)`` of ``wave (B, samples)``."""
        missing = -wave.shape[-1] % self.period
        padded = F.pad(wave[:, None], (0, missing), mode="reflect")[:, 0] if missing else wave
        columns = padded.view(len(wave), -1, self.period).transpose(1, 2)
        x = columns.reshape(len(wave) * self.period, 1, -1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        x = self.last(x)
        features.append(x)
        return x.reshape(len(wave), -1), tuple(features)


class MultiPeriodDiscriminator(nn.Module):
    """One discriminator for each period; 41.1 million parameters at full width."""

    belongs_to = Owner.PERSONAL

    def __init__(self, width: float = 1.0, periods: Sequence[int] = PERIODS) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(PeriodDiscriminator(period, width) for period in periods)

    def forward(self, wave: Tensor) -> Judgement:
        """The judgement of ``wave (B, samples)``."""
        found = [discriminator(wave) for discriminator in self.discriminators]
        return Judgement(tuple(scores for scores, _ in found), tuple(features for _, features in found))
