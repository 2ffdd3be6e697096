"""The fast Griffin-Lim algorithm without torch: :func:`shared_models.vocoders.griffin_lim.find_wave` in NumPy.

The same search from the same first phases. Frames are worked on a few at a time, so that all that belongs to
them stays in the processor's cache from one inverse transform to the next: an iteration reads the wave that
the one before left, and adds its own frames to a new one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from shared_models.audio.first_phases import first_phases

BLOCK = 64
"""Frames worked on at a time: about a megabyte with all that belongs to them."""
_SMALLEST_SQUARE = np.float32(1e-16)
_SMALLEST_WEIGHT = 1e-2  # only the outer edge of the padding, which is cut off, has less
Array = NDArray[np.float32]
Spectrum = NDArray[np.complex64]


def find_wave(
    spectrum: Array, hop: int, iterations: int = 32, momentum: float = 0.99, seed: int = 0
) -> Array:
    """Wave ``(B, T * hop)`` whose STFT magnitude is close to ``spectrum (B, T, n_fft // 2 + 1)`` float32.

    ``hop`` divides ``n_fft``; the window is Hann's. On one thread: transforms of so few frames are over before
    a second thread has begun.
    """
    return np.stack([_Search(one, hop, momentum, seed).run(iterations) for one in spectrum])


class _Search:
    """The search for one wave, and the room that it works in."""

    def __init__(self, spectrum: Array, hop: int, momentum: float, seed: int) -> None:
        self._spectrum = spectrum
        self._frames, bins = spectrum.shape
        self._hop, self._n_fft = hop, 2 * (bins - 1)
        turns = np.arange(self._n_fft) / self._n_fft
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)
        self._share = self._share_of_windows()
        # Of a guess only its direction counts, so that a step of 1 + momentum can be divided out.
        self._kept = np.float32(-momentum / (1 + momentum))
        self._guess: Spectrum = first_phases(self._frames, bins, seed)
        self._guess *= spectrum
        block = min(BLOCK, self._frames)
        self._windowed = np.empty((block, self._n_fft), np.float32)
        self._squares = np.empty((block, 2 * bins), np.float32)
        self._scale = np.empty((block, bins), np.float32)

    def run(self, iterations: int) -> Array:
        """``(T * hop,)``."""
        wave = self._silence()
        for rows in self._blocks():
            self._add(self._guess[rows], wave, rows)
        # From here on what is kept of a frame is the spectrum that its last guess led to.
        self._guess[:] = 0
        for _ in range(iterations):
            wave = self._closer(wave)
        wave *= self._share
        padding = (self._n_fft - self._hop) // 2
        return wave.reshape(-1)[padding : padding + self._frames * self._hop]

    def _closer(self, wave: Array) -> Array:
        """One iteration, from a sum of windowed frames ``(T + n_fft // hop - 1, hop)`` to the next."""
        wave *= self._share
        frames = np.lib.stride_tricks.sliding_window_view(wave.reshape(-1), self._n_fft)[:: self._hop]
        closer = self._silence()
        for rows in self._blocks():
            windowed = np.multiply(frames[rows], self._window, out=self._windowed[: rows.stop - rows.start])
            consistent = fft.rfft(windowed)
            guess = self._guess[rows]
            self._accelerate(guess, consistent, self._spectrum[rows])
            self._add(guess, closer, rows)
            guess[:] = consistent
        return closer

    def _accelerate(self, guess: Spectrum, consistent: Spectrum, magnitude: Array) -> None:
        """Make the last ``consistent`` spectrum, which ``guess (rows, bins)`` holds, the next guess."""
        numbers = guess.view(np.float32)
        numbers *= self._kept
        numbers += consistent.view(np.float32)
        squares, scale = self._squares[: len(guess)], self._scale[: len(guess)]
        np.multiply(numbers, numbers, out=squares)
        np.add(squares[:, ::2], squares[:, 1::2], out=scale)
        np.maximum(scale, _SMALLEST_SQUARE, out=scale)
        np.sqrt(scale, out=scale)
        np.divide(magnitude, scale, out=scale)
        # Twice as fast as a product with complex numbers, which NumPy would make of the scale.
        numbers[:, ::2] *= scale
        numbers[:, 1::2] *= scale

    def _add(self, guess: Spectrum, wave: Array, rows: slice) -> None:
        """Add the windowed frames of ``guess (rows, bins)`` to ``wave`` where they belong."""
        frames = fft.irfft(guess)
        frames *= self._window
        for shift, part in enumerate(frames.reshape(len(frames), -1, self._hop).transpose(1, 0, 2)):
            wave[rows.start + shift : rows.stop + shift] += part

    def _share_of_windows(self) -> Array:
        """What to multiply a sum of windowed frames with, for the wave that is closest to all of them."""
        weight = self._silence()
        for shift, part in enumerate(np.square(self._window).reshape(-1, self._hop)):
            weight[shift : shift + self._frames] += part
        np.maximum(weight, np.float32(_SMALLEST_WEIGHT), out=weight)
        return np.reciprocal(weight)

    def _silence(self) -> Array:
        return np.zeros((self._frames + self._n_fft // self._hop - 1, self._hop), np.float32)

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, self._frames, BLOCK):
            yield slice(start, min(start + BLOCK, self._frames))
