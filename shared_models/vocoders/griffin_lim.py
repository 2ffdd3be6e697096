"""The fast Griffin-Lim algorithm: a waveform from a mel, without trained weights.

Source: N. Perraudin, P. Balazs, P. Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013, which adds
momentum to D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform", 1984.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from shared_models.audio.mel import HOP, N_FFT, PADDING, mel_basis
from shared_models.vocoders.inverse_stft import overlap_add

_SMALLEST = 1e-8


@dataclass(frozen=True, slots=True)
class GriffinLim:
    """Inverts :func:`shared_models.audio.mel.log_mel`: same mel, same wave, whatever ran before.

    Example::

        wave = GriffinLim()(log_mel(recording))  # (T, 80) -> (T * 256,)
    """

    iterations: int = 32
    momentum: float = 0.99
    """0 is the original algorithm; the paper recommends 0.99."""
    fit_iterations: int = 20
    """Steps of the search for a magnitude that has this mel."""
    seed: int = 0
    """Of the phase that the search starts from."""

    @torch.no_grad()
    def __call__(self, mel: Tensor) -> Tensor:
        """Wave ``(..., T * HOP)`` at 22,050 Hz of a natural-log mel ``(..., T, N_MELS)``."""
        frames = mel.shape[-2]
        spectrum = magnitude_of_mel(mel.reshape(-1, *mel.shape[-2:]), self.fit_iterations)
        padded = self._find_phase(spectrum)
        return padded[:, PADDING : PADDING + frames * HOP].reshape(*mel.shape[:-2], frames * HOP)

    def _find_phase(self, spectrum: Tensor) -> Tensor:
        """Wave ``(B, (T - 1) * HOP + N_FFT)``, with the padding, of a magnitude ``(B, T, bins)``."""
        window = torch.hann_window(N_FFT, dtype=spectrum.dtype, device=spectrum.device)
        generator = torch.Generator().manual_seed(self.seed)
        angle = torch.rand(spectrum.shape[1:], generator=generator).to(spectrum) * (2 * math.pi)
        guess = torch.polar(spectrum, angle.expand_as(spectrum))
        previous = torch.zeros_like(guess)
        for _ in range(self.iterations):
            frames = overlap_add(torch.fft.irfft(guess), window).unfold(-1, N_FFT, HOP)
            consistent = torch.fft.rfft(frames * window)
            accelerated = torch.view_as_real(previous).lerp(torch.view_as_real(consistent), 1 + self.momentum)
            previous = consistent
            length = accelerated.square().sum(dim=-1).clamp(min=_SMALLEST**2).rsqrt_()
            guess = torch.view_as_complex(accelerated * length.mul_(spectrum)[..., None])
        return overlap_add(torch.fft.irfft(guess), window)


def magnitude_of_mel(mel: Tensor, iterations: int = 20) -> Tensor:
    """A non-negative magnitude ``(..., T, bins)`` whose mel is ``mel (..., T, N_MELS)``, natural log.

    Least squares under non-negativity by multiplicative updates (Lee & Seung 2001), from the clamped
    pseudo-inverse. Bins outside of every filter get nothing.
    """
    basis = mel_basis().to(mel)
    target = mel.exp()
    found = (target @ _inverse().to(mel)).clamp(min=_SMALLEST)
    found = found * (basis.sum(dim=1) > 0)
    pull, overlap = target @ basis.T, basis @ basis.T
    for _ in range(iterations):
        found = found * pull / (found @ overlap).clamp(min=_SMALLEST)
    return found


@lru_cache(maxsize=1)
def _inverse() -> Tensor:
    inverse: Tensor = torch.linalg.pinv(mel_basis().double()).float()
    return inverse
