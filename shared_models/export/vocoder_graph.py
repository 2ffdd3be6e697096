"""Vocoders as graphs of real tensors, which an exporter can trace: mel in, wave or magnitude out.

ONNX has convolutions but no inverse STFT that every runtime agrees on. Here the inverse Fourier transform is
two products with matrices of cosines and sines, and overlap-add is a sum of shifted frames. A search for
phases is a loop of transforms, which no runtime does as fast as a Fourier library: it stays outside of the
graph, in :mod:`shared_models.export.phase_search`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.audio.mel import HOP, N_FFT, PADDING
from shared_models.errors import RecipeError
from shared_models.partition import Owner
from shared_models.vocoders.folding import folded_weights, load_folded_weights
from shared_models.vocoders.hifigan import HiFiGan
from shared_models.vocoders.magnitude import MagnitudeNetwork
from shared_models.vocoders.vocos import Vocos

_HALF = N_FFT // 2
_SHIFTS = N_FFT // HOP
_SMALLEST_WEIGHT = 1e-2


def vocoder_graph(generator: nn.Module) -> nn.Module:
    """``generator`` in a form that can be exported, in ``eval()`` mode: a mel ``(B, T, 80)`` to the wave
    ``(B, T * HOP)``, or where :func:`phase_iterations` says so to the log magnitude ``(B, T, N_FFT // 2 + 1)``.

    Raises :class:`RecipeError` for a kind whose pass depends on what it is given.
    """
    if isinstance(generator, Vocos):
        return VocosGraph(generator)
    if isinstance(generator, MagnitudeNetwork):
        return MagnitudeGraph(generator)
    if isinstance(generator, HiFiGan):
        folded = HiFiGan(generator.dimensions)
        load_folded_weights(folded, folded_weights(generator), "the vocoder")
        return folded.eval()
    raise RecipeError(
        f"a vocoder of kind {type(generator).__name__} cannot be exported, because its pass through the network is "
        "not the same for every mel: export with magnitude, Vocos or HiFi-GAN"
    )


def phase_iterations(generator: nn.Module) -> int:
    """Of the phase search that makes a wave of what the graph gives; 0 where the graph gives the wave."""
    return generator.dimensions.iterations if isinstance(generator, MagnitudeNetwork) else 0


class MagnitudeGraph(nn.Module):
    """The network of :class:`MagnitudeNetwork` without the search. Shares its tensors."""

    belongs_to = Owner.SHARED

    def __init__(self, network: MagnitudeNetwork) -> None:
        super().__init__()
        self.network = network.eval()
        self.eval()

    def forward(self, mel: Tensor) -> Tensor:
        """``mel (B, T, N_MELS)`` to the natural log of the magnitude ``(B, T, N_FFT // 2 + 1)``."""
        return self.network.log_magnitude(mel)


class VocosGraph(nn.Module):
    """:class:`Vocos` without complex numbers. Shares its tensors."""

    belongs_to = Owner.SHARED

    def __init__(self, vocos: Vocos) -> None:
        super().__init__()
        self.vocos = vocos.eval()
        self.eval()

    def forward(self, mel: Tensor) -> Tensor:
        """``mel (B, T, N_MELS)`` to the wave ``(B, T * HOP)``."""
        magnitude, phase = self.vocos.spectrum(mel)
        frames = inverse_real_dft(magnitude * phase.cos(), magnitude * phase.sin())
        return overlap_add(frames, self.vocos.window)


def inverse_real_dft(real: Tensor, imaginary: Tensor) -> Tensor:
    """What ``torch.fft.irfft`` gives of a spectrum ``(B, T, N_FFT // 2 + 1)``, in two parts: ``(B, T, N_FFT)``.

    The cosines make the even part of each frame and the sines the odd part, so that half of either is enough.
    """
    # From integers rather than stored: a file would carry 2 MB, and a runtime folds this once, when it loads.
    # Reduced to one turn first, which keeps float32 exact.
    bins = torch.arange(_HALF + 1)
    angles = (bins[:, None] * bins[None, :] % N_FFT).float() * (2 * math.pi / N_FFT)
    inner = ((bins > 0) & (bins < _HALF)).float()
    weight = ((1 + inner) / N_FFT)[:, None]
    even = real @ (angles.cos() * weight)
    odd = imaginary @ (angles.sin() * weight)
    return torch.cat([even - odd, (even + odd)[..., 1:-1].flip(-1)], dim=-1)


def overlap_add(frames: Tensor, window: Tensor) -> Tensor:
    """The wave ``(B, T * HOP)`` closest to ``frames (B, T, N_FFT)`` under ``window (N_FFT,)``.

    As :func:`shared_models.vocoders.inverse_stft.inverse_stft` places and weighs them, without writing in place.
    """
    added = _shifted_sum(frames * window)
    weight = _shifted_sum(torch.ones_like(frames[:1, :, :1]) * window.square())
    wave = (added / weight.clamp(min=_SMALLEST_WEIGHT)).flatten(1)
    return wave[:, PADDING : PADDING - N_FFT + HOP]


def _shifted_sum(frames: Tensor) -> Tensor:
    """``(B, T, N_FFT)`` to blocks of a hop ``(B, T + 3, HOP)``: each frame's k-th block falls k hops later."""
    blocks = frames.reshape(*frames.shape[:2], _SHIFTS, HOP).unbind(2)
    return torch.stack([F.pad(b, (0, 0, k, _SHIFTS - 1 - k)) for k, b in enumerate(blocks)]).sum(0)
