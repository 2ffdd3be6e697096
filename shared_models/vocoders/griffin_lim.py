"""The fast Griffin-Lim algorithm: a waveform from a mel, without trained weights.

Source: N. Perraudin, P. Balazs, P. Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013, which adds
momentum to D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform", 1984.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from shared_models.audio.first_phases import first_phases
from shared_models.audio.mel import HOP, N_FFT, mel_basis
from shared_models.vocoders.inverse_stft import inverse_stft, overlap_add

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
        wave = find_wave(spectrum, self.iterations, self.momentum, self.seed)
        return wave.reshape(*mel.shape[:-2], frames * HOP)


@torch.no_grad()
def find_wave(spectrum: Tensor, iterations: int = 32, momentum: float = 0.99, seed: int = 0) -> Tensor:
    """Wave ``(B, T * HOP)`` whose STFT magnitude is close to ``spectrum (B, T, N_FFT // 2 + 1)``.

    The search starts from random phases, drawn from ``seed`` frame by frame: the same ones for a text's first
    frames whatever comes after them, and the same in :mod:`shared_models.export.phase_search`, which does
    this without torch. No gradient passes.
    """
    window = torch.hann_window(N_FFT, dtype=spectrum.dtype, device=spectrum.device)
    directions = torch.from_numpy(first_phases(spectrum.shape[1], spectrum.shape[2], seed))
    guess = directions.to(spectrum.device, spectrum.dtype.to_complex()) * spectrum
    previous = torch.zeros_like(guess)
    for _ in range(iterations):
        frames = overlap_add(torch.fft.irfft(guess), window).unfold(-1, N_FFT, HOP)
        consistent = torch.fft.rfft(frames * window)
        # Of a guess only its direction counts, so that the step of 1 + momentum is divided out.
        accelerated = previous.mul_(-momentum / (1 + momentum)).add_(consistent)
        previous = consistent
        squares = torch.view_as_real(accelerated).square()
        # Sums along an axis of two numbers, and products of real with broadcast pairs, are slow in torch.
        square = (squares[..., 0] + squares[..., 1]).clamp_(min=_SMALLEST**2)
        guess = accelerated.mul_(square.rsqrt_().mul_(spectrum))
    return inverse_stft(guess, window)


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
