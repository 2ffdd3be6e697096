"""Mel-cepstral distortion (Kubichek 1993) between recordings of the same sentence.

The cepstra are mel-cepstra: the DCT-II of the project's natural-log mel (80 Slaney mels of the magnitude up
to 8 kHz), scaled so that the log-mel is the sum of c_d cos(d w), which is what makes the distortion a
difference of spectral envelopes in dB. Coefficients 1 to 13 count; c0, the loudness, does not. Frames are
paired by dynamic time warping, so that speaking faster costs nothing by itself. Compare values of the same
cepstra only: those of other tools (WORLD and SPTK, or MFCC with an orthonormal DCT) differ in scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor

from simulations.evaluation.time_warping import pairwise_distances, warp

COEFFICIENTS = 13
_DECIBELS = 10 / np.log(10) * np.sqrt(2)

_Array = NDArray[np.float64]


def mel_cepstra(mel: Tensor) -> _Array:
    """Coefficients 1 to 13 ``(T, 13)`` of a natural-log mel ``(T, N_MELS)``."""
    cepstra = dct(mel.double().numpy(), type=2, axis=1) / mel.shape[1]
    return np.asarray(cepstra[:, 1 : COEFFICIENTS + 1])


def cepstral_distortion(first: Tensor, second: Tensor) -> float:
    """MCD in dB between two natural-log mels ``(T1, N_MELS)`` and ``(T2, N_MELS)``.

    The mean, over the pairs of the warping path, of ``10 / ln 10 * sqrt(2 * sum of squared differences)``.
    """
    distances = pairwise_distances(mel_cepstra(first), mel_cepstra(second))
    rows, columns = warp(distances)
    return float(_DECIBELS * distances[rows, columns].mean())
