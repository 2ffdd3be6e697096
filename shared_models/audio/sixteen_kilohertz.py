"""Spectra of 16 kHz speech, 100 frames a second: what public speaker encoders hear.

:func:`power_mel` is Resemblyzer's input and :func:`filterbanks` is SpeechBrain's. Each encoder was trained on its own
spectrum and hears nothing sensible in another.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks, resample

from shared_models.audio.mel import HOP as MEL_HOP
from shared_models.audio.mel import SAMPLE_RATE

RATE = 16_000
WINDOW = 400
HOP = 160
STEPS_PER_FRAME = (RATE / HOP) / (SAMPLE_RATE / MEL_HOP)
"""Frames here for one frame of the models' mel: 1.16."""
FLOOR, RANGE_DB = 1e-10, 80.0


def at_16_khz(wave: Tensor) -> Tensor:
    """``wave (..., samples)`` at 22,050 Hz, as the models' recordings are, to 16 kHz."""
    resampled: Tensor = resample(wave, SAMPLE_RATE, RATE)
    return resampled


def power_mel(wave: Tensor, bins: int = 40) -> Tensor:
    """Power mel ``(frames, bins)`` of ``wave (samples,)``, centred Hann windows, without a log (Resemblyzer)."""
    mel: Tensor = _power(wave, torch.hann_window(WINDOW)).T @ _slaney(bins)
    return mel


def filterbanks(wave: Tensor, bins: int) -> Tensor:
    """Energies of ``bins`` triangular filters in decibels, ``(frames, bins)`` of ``wave (samples,)`` (SpeechBrain).

    Centred Hamming windows, HTK's mel scale, filters of height 1; nothing lies more than 80 dB below the loudest.
    """
    energies = _power(wave, torch.hamming_window(WINDOW)).T @ _triangles(bins)
    decibels = 10.0 * energies.clamp_min(FLOOR).log10()
    return decibels.clamp_min(decibels.max() - RANGE_DB)


def _power(wave: Tensor, window: Tensor) -> Tensor:
    spectrum = torch.stft(wave, WINDOW, HOP, WINDOW, window, pad_mode="constant", return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


@lru_cache(maxsize=4)
def _slaney(bins: int) -> Tensor:
    basis: Tensor = melscale_fbanks(
        WINDOW // 2 + 1, 0.0, RATE / 2, bins, RATE, norm="slaney", mel_scale="slaney"
    )
    return basis


@lru_cache(maxsize=4)
def _triangles(bins: int) -> Tensor:
    """``(201, bins)`` at the frequencies of a window."""
    return triangles(bins, torch.linspace(0, RATE // 2, WINDOW // 2 + 1))


def triangles(bins: int, frequencies: Tensor) -> Tensor:
    """``(F, bins)`` at ``frequencies (F,)`` in Hz: triangular filters of height 1 on HTK's scale from 0 to 8 kHz.

    Both sides of a filter are as wide as its lower side, as in SpeechBrain's training.
    """
    top = 2595.0 * torch.log10(torch.tensor(1 + RATE / 2 / 700.0))
    edges = 700.0 * (10 ** (torch.linspace(0.0, float(top), bins + 2) / 2595.0) - 1)
    width, centre = (edges[1:] - edges[:-1])[:-1], edges[1:-1]
    slope = (frequencies[:, None] - centre) / width
    return torch.minimum(1 + slope, 1 - slope).clamp_min(0.0)
