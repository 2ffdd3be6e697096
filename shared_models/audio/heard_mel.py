"""A mel as the spectra that speaker encoders hear, in closed form, so that their gradient reaches whoever made it.

The models' mel and the encoders' spectra cover the same 8 kHz at other resolutions. The magnitude between the mel's
bands is taken to be smooth, frames are interpolated to 100 a second, and the encoders' filters are applied. What a long
window blurs in time and a band in frequency stays blurred, so that an embedding of it is near that of the recording
and not the same: compare like with like, two mels that went the same way.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from shared_models.audio.mel import HOP, N_FFT, SAMPLE_RATE, mel_basis
from shared_models.audio.sixteen_kilohertz import (
    FLOOR,
    RANGE_DB,
    RATE,
    STEPS_PER_FRAME,
    WINDOW,
    triangles,
)
from shared_models.audio.sixteen_kilohertz import HOP as STEP
from shared_models.layers.sequences import valid_steps

_BINS = N_FFT // 2 + 1
POWER_MEL, FILTERBANKS = "power_mel", {"filterbanks_40": 40, "filterbanks_80": 80}
HEARABLE = (POWER_MEL, *FILTERBANKS)


def spectra_of(mel: Tensor, lengths: Tensor, signal: str) -> tuple[Tensor, Tensor]:
    """``mel (B, T, 80)`` natural log at 22,050 Hz, ``lengths (B,)``; to ``(B, N, bins)`` and its lengths.

    ``signal`` is one of :data:`HEARABLE`. Differentiable.
    """
    power = mel.exp() @ _envelope().to(mel)
    steps = (lengths * STEPS_PER_FRAME).long() + 1
    power = _at_steps(power.square(), lengths, int(mel.shape[1] * STEPS_PER_FRAME) + 1)
    energies = power @ _filters(signal).to(mel)
    if signal == POWER_MEL:
        return energies, steps
    decibels = 10.0 * energies.clamp_min(FLOOR).log10()
    real = valid_steps(steps, decibels.shape[1])[:, :, None]
    loudest = decibels.masked_fill(~real, -torch.inf).amax((1, 2), keepdim=True)
    return torch.maximum(decibels, loudest - RANGE_DB), steps


def _at_steps(frames: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """``frames (B, T, C)`` to ``(B, steps, C)`` at 100 a second; a row's last frame goes on beyond its end."""
    # Frame t is centred at (t + 1/2) hops of the mel, step n at n hops of the encoders' spectra.
    places = torch.arange(steps, device=frames.device) * (STEP / RATE * SAMPLE_RATE / HOP) - 0.5
    last = (lengths - 1).clamp_min(0)[:, None]
    before = torch.minimum(places.floor().long().clamp_min(0), last)
    after = torch.minimum(before + 1, last)
    share = (places - before).clamp(0, 1)[:, :, None]
    first, second = (
        frames.gather(1, at[:, :, None].expand(-1, -1, frames.shape[2])) for at in (before, after)
    )
    return first + share.to(frames) * (second - first)


@lru_cache(maxsize=1)
def _envelope() -> Tensor:
    """``(80, 513)``: at a frequency, the mean of the bands that it lies in, weighted by their height."""
    basis = mel_basis()
    shares = basis / basis.sum(1, keepdim=True).clamp_min(1e-12)
    return (shares / basis.sum(0)).T


@lru_cache(maxsize=4)
def _filters(signal: str) -> Tensor:
    """``(513, bins)``: an encoder's filters at the mel's frequencies, for noise as loud as the encoder hears it."""
    if signal == POWER_MEL:
        filters = melscale_fbanks(_BINS, 0.0, RATE / 2, 40, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
        window = torch.hann_window(WINDOW)
    else:
        filters = triangles(FILTERBANKS[signal], torch.linspace(0, SAMPLE_RATE / 2, _BINS))
        window = torch.hamming_window(WINDOW)
    # Of the same noise a window's power spectrum holds the rate times the window's energy.
    louder = RATE * window.square().sum() / (SAMPLE_RATE * torch.hann_window(N_FFT).square().sum())
    bins = (SAMPLE_RATE / N_FFT) / (RATE / WINDOW)
    scaled: Tensor = filters * louder * bins
    return scaled
