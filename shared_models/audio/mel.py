"""The log-mel spectrogram in HiFi-GAN's convention (Kong 2020, arXiv 2010.05646).

22,050 Hz, a 1024-sample Hann window every 256 samples, reflect-padded by (1024 - 256) / 2 on each side and
not centred, so that frame t is centred at sample (t + 1/2) * 256 and ``samples`` give ``samples // 256``
frames; 80 Slaney mels from 0 to 8,000 Hz on the linear magnitude; natural log, floored at 1e-5. Models and
vocoders that disagree on any of it fit each other badly, so nothing here is a setting.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from shared_models.errors import AudioError

SAMPLE_RATE = 22050
N_FFT = 1024
HOP = 256
N_MELS = 80
F_MIN = 0.0
F_MAX = 8000.0
FRAME_RATE = SAMPLE_RATE / HOP
PADDING = (N_FFT - HOP) // 2
FLOOR = 1e-5
LOG_FLOOR = -11.512925464970229
"""Natural log of the floor: the value of a silent bin."""


@lru_cache(maxsize=1)
def mel_basis() -> Tensor:
    """The filter bank ``(N_FFT // 2 + 1, N_MELS)``, each filter of unit area in Hz (Slaney)."""
    # It is kept, also where a model is just being made on another device.
    with torch.device("cpu"):
        basis: Tensor = melscale_fbanks(
            N_FFT // 2 + 1, F_MIN, F_MAX, N_MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
    return basis


def magnitude(wave: Tensor) -> Tensor:
    """STFT magnitude ``(..., T, N_FFT // 2 + 1)`` of ``wave (..., samples)`` at 22,050 Hz.

    Raises :class:`AudioError` for fewer samples than the reflection needs.
    """
    if wave.shape[-1] <= PADDING:
        raise AudioError(
            f"{wave.shape[-1]} samples are too short for a spectrogram; {PADDING + 1} are needed"
        )
    flat = wave.reshape(-1, wave.shape[-1])
    padded = F.pad(flat[:, None], (PADDING, PADDING), mode="reflect")[:, 0]
    window = torch.hann_window(N_FFT, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(
        padded, N_FFT, HOP, N_FFT, window, center=False, onesided=True, return_complex=True
    ).transpose(-1, -2)
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.sqrt(power + 1e-9).reshape(*wave.shape[:-1], *power.shape[-2:])


def mel_of_magnitude(spectrum: Tensor) -> Tensor:
    """Log-mel ``(..., T, N_MELS)`` of a magnitude ``(..., T, N_FFT // 2 + 1)``."""
    basis = mel_basis().to(spectrum)
    return (spectrum @ basis).clamp(min=FLOOR).log()


def log_mel(wave: Tensor) -> Tensor:
    """Log-mel ``(..., samples // HOP, N_MELS)`` of ``wave (..., samples)`` at 22,050 Hz; differentiable."""
    return mel_of_magnitude(magnitude(wave))
