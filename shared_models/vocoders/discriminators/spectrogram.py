"""The multi-resolution discriminator: complex spectrograms with long, middle and short windows.

Sources: W. Jang et al., "UnivNet" (2021, arXiv 2106.07889); the bands, each with layers of its own, from
R. Kumar et al., "High-fidelity audio compression with improved RVQGAN" (2023, arXiv 2306.06546), as Vocos
(H. Siuzdak 2023, arXiv 2306.00814) uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from shared_models.partition import Owner
from shared_models.vocoders.discriminators.judgement import Judgement

WINDOWS = (2048, 1024, 512)
BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
WHOLE = ((0.0, 1.0),)
OVERLAP = 4
LIGHT_WINDOWS = (2048, 512)
LIGHT_OVERLAP = 2
LIGHT_STRIDE = 4
_CHANNELS = 32
_SLOPE = 0.1
_PEAK = 0.8


class SpectrogramDiscriminator(nn.Module):
    """Judges real and imaginary parts of the STFT with one window, and a hop of 1 / ``overlap`` of it."""

    belongs_to = Owner.PERSONAL

    def __init__(
        self,
        window: int,
        width: float = 1.0,
        bands: Sequence[tuple[float, float]] = BANDS,
        overlap: int = OVERLAP,
        first_stride: int = 1,
    ) -> None:
        super().__init__()
        self.window = window
        self.hop = window // overlap
        bins = window // 2 + 1
        self.edges = [(int(low * bins), int(high * bins)) for low, high in bands]
        channels = max(2, round(_CHANNELS * width))
        self.bands = nn.ModuleList(_band(channels, first_stride) for _ in bands)
        self.last = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=1))

    def forward(self, wave: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores ``(B, places)`` and layers ``(B, channels, T, bins)`` of ``wave (B, samples)``."""
        spectrum = self._spectrum(wave)
        features, ends = [], []
        for band, (low, high) in zip(self.bands, self.edges, strict=True):
            x = spectrum[..., low:high]
            for layer in band:  # type: ignore[attr-defined]
                x = F.leaky_relu(layer(x), _SLOPE)
                features.append(x)
            ends.append(x)
        x = self.last(torch.cat(ends, dim=-1))
        features.append(x)
        return x.flatten(1), tuple(features)

    def _spectrum(self, wave: Tensor) -> Tensor:
        """``(B, 2, T, bins)`` of the wave without its mean and at a fixed peak, so that level says nothing."""
        centred = wave - wave.mean(dim=-1, keepdim=True)
        level = centred.abs().amax(dim=-1, keepdim=True)
        window = torch.hann_window(self.window, dtype=wave.dtype, device=wave.device)
        spectrum = torch.stft(
            _PEAK * centred / (level + 1e-9),
            self.window,
            self.window // 4,
            window=window,
            return_complex=True,
        )
        return torch.view_as_real(spectrum).permute(0, 3, 2, 1)


class MultiResolutionDiscriminator(nn.Module):
    """One discriminator for each window."""

    belongs_to = Owner.PERSONAL

    def __init__(
        self,
        width: float = 1.0,
        windows: Sequence[int] = WINDOWS,
        bands: Sequence[tuple[float, float]] = BANDS,
        overlap: int = OVERLAP,
        first_stride: int = 1,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            SpectrogramDiscriminator(size, width, bands, overlap, first_stride) for size in windows
        )

    def forward(self, wave: Tensor) -> Judgement:
        """The judgement of ``wave (B, samples)``; at least 1,025 samples."""
        found = [discriminator(wave) for discriminator in self.discriminators]
        return Judgement(tuple(scores for scores, _ in found), tuple(features for _, features in found))


def _band(channels: int, first_stride: int) -> nn.ModuleList:
    layers = [nn.Conv2d(2, channels, (3, 9), stride=(1, first_stride), padding=(1, 4))]
    layers += [nn.Conv2d(channels, channels, (3, 9), stride=(1, 2), padding=(1, 4)) for _ in range(3)]
    layers.append(nn.Conv2d(channels, channels, (3, 3), padding=1))
    return nn.ModuleList(weight_norm(layer) for layer in layers)
