"""What the mark is put into and read from: the magnitudes below 2 kHz, 100 times a second. NumPy and SciPy alone.

PerTh's encoder says by how many decibels to raise or lower each of them. Here only that difference is brought back
to the recording's own rate and added to it, so that whatever lies above 2 kHz stays as it was, sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import resample_poly

from shared_models.errors import WatermarkError

RATE = 32_000
"""Hz, at which the networks were trained."""
BINS = 128
"""Of the spectrum, from 0 Hz to 2 kHz, that carry the mark."""
_N_FFT, _HOP = 2048, 320
_LEAST_DB, _HEADROOM_DB = -180.0, 15.0
_SPAN_DB = _HEADROOM_DB - _LEAST_DB
_QUIET = 0.05
"""Frames whose level is below this share of the loudest frame's carry no mark."""
Array = NDArray[np.float32]
Residual = Callable[[Array], Array]
"""Levels ``(BINS, frames)`` to what is added to them, of the same shape and scale."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The magnitudes of a recording on the networks' scale, where 0 is -180 dB and 1 is 15 dB."""

    spectrum: NDArray[np.complex64]
    """``(BINS, frames)``."""
    levels: Array
    """``(BINS, frames)``."""
    heard: Array
    """``(frames,)``: 1 where the recording is loud enough to carry the mark, and 0 elsewhere."""


def levels_of(wave: Array, rate: int) -> Levels:
    """The levels of ``wave (samples,)`` at ``rate`` Hz, at least one sample."""
    window = _window()
    padded = np.pad(resampled(wave, rate, RATE), _N_FFT // 2, mode="reflect" if len(wave) > 1 else "edge")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    spectrum = fft.rfft(frames * window).T
    levels = (20 * np.log10(np.maximum(np.abs(spectrum), 1e-9)) - _LEAST_DB) / _SPAN_DB
    loudness = levels.sum(axis=0)
    heard = (loudness > _QUIET * loudness.max()).astype(np.float32)
    return Levels(spectrum[:BINS].astype(np.complex64), levels[:BINS].astype(np.float32), heard)


def mark(wave: Array, rate: int, residual: Residual) -> Array:
    """``wave (samples,)`` at ``rate`` Hz with the mark that ``residual`` asks for. An empty wave stays empty.

    Raises :class:`WatermarkError` where what comes of it is not finite.
    """
    if len(wave) == 0:
        return wave
    found = levels_of(wave, rate)
    gain = np.power(10, residual(found.levels) * (found.heard * np.float32(_SPAN_DB / 20)))
    difference = resampled(_overlap_add(found.spectrum * (gain - 1)), RATE, rate)
    # Rounding up on the way to one rate and down on the way back may differ by a sample.
    difference = np.pad(difference, (0, max(0, len(wave) - len(difference))))[: len(wave)]
    sound = np.asarray(wave + difference, dtype=np.float32)
    if not np.isfinite(sound).all():
        raise WatermarkError(
            "the speech holds NaN or infinite samples and cannot be marked: nothing was spoken"
        )
    return sound


def resampled(wave: Array, rate: int, new_rate: int) -> Array:
    """``wave (samples,)`` at ``new_rate`` Hz."""
    if rate == new_rate:
        return wave
    common = gcd(rate, new_rate)
    return np.asarray(resample_poly(wave, new_rate // common, rate // common), dtype=np.float32)


def _overlap_add(spectrum: NDArray[np.complex64]) -> Array:
    """The wave whose windowed frames are closest to ``spectrum (BINS, frames)``; nothing lies above BINS."""
    frames = fft.irfft(spectrum.T, _N_FFT) * _window()
    # A hop is no divisor of the window: pieces of their common divisor are added instead.
    step = gcd(_HOP, _N_FFT)
    apart, parts = _HOP // step, _N_FFT // step
    total = np.zeros(((len(frames) - 1) * apart + parts, step), np.float32)
    weight = np.zeros_like(total)
    square = np.square(_window()).reshape(parts, step)
    for part in range(parts):
        rows = slice(part, part + (len(frames) - 1) * apart + 1, apart)
        total[rows] += frames[:, part * step : (part + 1) * step]
        weight[rows] += square[part]
    wave = total.reshape(-1) / np.maximum(weight.reshape(-1), np.float32(1e-6))
    return np.asarray(wave[_N_FFT // 2 : len(wave) - _N_FFT // 2], dtype=np.float32)


def _window() -> Array:
    turns = np.arange(_N_FFT) / _N_FFT
    return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)
