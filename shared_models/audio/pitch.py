"""Fundamental frequency by autocorrelation and a search for the best path (Boersma 1993).

Each frame's autocorrelation, divided by that of its window, peaks at the periods that the frame could
have. A handful of peaks a frame, and the hypothesis "unvoiced", are candidates; dynamic programming
picks the path with the strongest candidates and the fewest jumps. The analysis frames are the mel's:
frame t is centred at sample (t + 1/2) * HOP. Everything is deterministic and needs no trained weights.

Source: P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound", IFA Proceedings 17, 1993. Costs are the paper's and Praat's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from shared_models.audio.mel import FRAME_RATE, HOP, SAMPLE_RATE

PITCH_FLOOR = 65.0
PITCH_CEILING = 600.0
UNVOICED_HZ = 160.0
"""What an utterance without any voiced frame gets: between a man's and a woman's usual pitch."""

_WINDOW = 1024  # three periods of the lowest pitch, as the paper asks
_FFT = 2048  # at least window + longest lag, so that the circular autocorrelation does not wrap
_CANDIDATES = 8
_SILENCE = 0.03
_VOICING = 0.45
_OCTAVE_COST = 0.01
_JUMP_COST = 0.35
_SWITCH_COST = 0.14

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pitch:
    """The pitch track of one utterance, T frames."""

    log_f0: Tensor
    """``(T,)`` float32 natural log of Hz, interpolated linearly through unvoiced frames."""
    voiced: Tensor
    """``(T,)`` bool."""


def track_pitch(wave: Tensor) -> Pitch:
    """Track the pitch of ``wave (samples,)`` at 22,050 Hz; T = ``samples // HOP``."""
    hertz, strength, unvoiced = _candidates(wave)
    chosen = _best_path(hertz, strength, unvoiced)
    frames = np.arange(len(chosen))
    f0 = np.where(chosen < 0, 0.0, hertz[frames, np.maximum(chosen, 0)])
    return Pitch(
        log_f0=torch.from_numpy(interpolate_unvoiced(f0).astype(np.float32)), voiced=torch.from_numpy(f0 > 0)
    )


def interpolate_unvoiced(f0: _Array) -> _Array:
    """Natural log of ``f0 (T,)`` in Hz, linear through frames with 0 Hz, constant beyond the outermost."""
    voiced = f0 > 0
    if not voiced.any():
        return np.full(len(f0), math.log(UNVOICED_HZ))
    frames = np.arange(len(f0))
    return np.interp(frames, frames[voiced], np.log(f0[voiced]))


@lru_cache(maxsize=1)
def _window() -> tuple[Tensor, Tensor]:
    """The Hann window ``(_WINDOW,)`` and its normalised autocorrelation over lags ``(_FFT // 2,)``."""
    window = torch.hann_window(_WINDOW, periodic=False)
    correlation = torch.fft.irfft(torch.fft.rfft(window, _FFT).abs().square())[: _FFT // 2]
    return window, correlation / correlation[0]


def _autocorrelation(wave: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised autocorrelation ``(T, lags)`` of each frame, and each frame's peak amplitude ``(T,)``."""
    window, window_correlation = _window()
    count = len(wave) // HOP
    # Frame t starts half a window before its centre, (t + 1/2) * HOP.
    lead = _WINDOW // 2 - HOP // 2
    padded = F.pad(wave, (lead, _WINDOW))
    frames = padded.unfold(0, _WINDOW, HOP)[:count]
    frames = frames - frames.mean(dim=1, keepdim=True)
    spectrum = torch.fft.rfft(frames * window, _FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    lags = math.ceil(SAMPLE_RATE / PITCH_FLOOR) + 2
    correlation = torch.fft.irfft(power)[:, :lags]
    normalised = correlation / correlation[:, :1].clamp(min=1e-12) / window_correlation[:lags]
    middle = frames[:, _WINDOW // 4 : 3 * _WINDOW // 4]
    return normalised, middle.abs().amax(dim=1)


def _candidates(wave: Tensor) -> tuple[_Array, _Array, _Array]:
    """Hz and strength of each frame's best peaks, both ``(T, K)``, and the unvoiced strength ``(T,)``."""
    correlation, peak = _autocorrelation(wave)
    before, here, after = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
    slope, curve = (after - before) / 2, (2 * here - before - after).clamp(min=1e-9)
    offset = slope / curve
    height = (here + slope.square() / (2 * curve)).clamp(max=1.0)
    lag = torch.arange(1, correlation.shape[1] - 1) + offset.clamp(-1, 1)
    hertz = SAMPLE_RATE / lag
    is_peak = (here > before) & (here >= after) & (here > _VOICING / 2)
    is_peak &= (hertz >= PITCH_FLOOR) & (hertz <= PITCH_CEILING)
    # A small bonus for high pitches: a signal of period p has peaks at 2p, 3p ... as well.
    strength = height + _OCTAVE_COST * torch.log2(hertz / PITCH_FLOOR)
    strength = strength.masked_fill(~is_peak, -math.inf)
    best = strength.topk(_CANDIDATES, dim=1)
    quiet = peak / peak.max().clamp(min=1e-9) / (_SILENCE / (1 + _VOICING))
    unvoiced = _VOICING + (2 - quiet).clamp(min=0)
    return (
        hertz.clamp(PITCH_FLOOR, PITCH_CEILING).gather(1, best.indices).double().numpy(),
        best.values.double().numpy(),
        unvoiced.double().numpy(),
    )


def _best_path(hertz: _Array, strength: _Array, unvoiced: _Array) -> NDArray[np.int64]:
    """The best column of each frame ``(T,)`` over K voiced candidates and the unvoiced one, which is -1."""
    frames, voiced = hertz.shape
    scores = np.concatenate([strength, unvoiced[:, None]], axis=1)
    per_frame = 100 / FRAME_RATE  # Praat's costs are for steps of 10 ms
    octaves = np.log2(hertz)
    cost = np.full((voiced + 1, voiced + 1), _SWITCH_COST / per_frame)
    cost[-1, -1] = 0.0
    back = np.zeros((frames, voiced + 1), dtype=np.int64)
    total = scores[0]
    columns = np.arange(voiced + 1)
    for t in range(1, frames):
        cost[:-1, :-1] = np.abs(octaves[t - 1][:, None] - octaves[t]) * (_JUMP_COST / per_frame)
        reached = total[:, None] - cost
        back[t] = reached.argmax(axis=0)
        total = reached[back[t], columns] + scores[t]
    path = np.empty(frames, dtype=np.int64)
    path[-1] = total.argmax()
    for t in range(frames - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return np.where(path == voiced, -1, path)
