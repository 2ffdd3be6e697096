"""From frames back to a wave, lined up with the spectrograms of :mod:`shared_models.audio.mel`."""

from __future__ import annotations

import torch
from torch import Tensor

from shared_models.audio.mel import HOP, N_FFT, PADDING

_SMALLEST_WEIGHT = 1e-2  # only the outer edge of the padding, which is cut off, has less


def inverse_stft(spectrum: Tensor, window: Tensor) -> Tensor:
    """Wave ``(B, T * HOP)`` of a complex ``spectrum (B, T, N_FFT // 2 + 1)`` and ``window (N_FFT,)``.

    Frame t covers the samples ``[t * HOP - PADDING, t * HOP - PADDING + N_FFT)`` of the wave, as it does in
    :func:`shared_models.audio.mel.magnitude`; what lies outside of the wave is cut off. Differentiable.
    """
    padded = overlap_add(torch.fft.irfft(spectrum, N_FFT), window)
    return padded[:, PADDING : PADDING + spectrum.shape[1] * HOP]


def overlap_add(frames: Tensor, window: Tensor) -> Tensor:
    """The wave ``(B, (T - 1) * HOP + N_FFT)`` closest to ``frames (B, T, N_FFT)`` under ``window``."""
    shifts = N_FFT // HOP
    pieces = (frames * window).reshape(*frames.shape[:-1], shifts, HOP)
    weights = window.square().reshape(shifts, HOP)
    count = frames.shape[1]
    wave = frames.new_zeros(len(frames), count + shifts - 1, HOP)
    weight = frames.new_zeros(count + shifts - 1, HOP)
    for shift in range(shifts):
        wave[:, shift : shift + count] += pieces[:, :, shift]
        weight[shift : shift + count] += weights[shift]
    return (wave / weight.clamp(min=_SMALLEST_WEIGHT)).flatten(1)
