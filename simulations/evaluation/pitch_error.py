"""How far a clone's intonation is from the speaker's own, on the same sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared_models.audio.pitch import Pitch
from simulations.evaluation.cepstral_distortion import mel_cepstra
from simulations.evaluation.time_warping import pairwise_distances, warp


@dataclass(frozen=True, slots=True)
class PitchError:
    """Differences over paired frames; NaN, but for the voicing error, where no pair is voiced in both."""

    rmse_hz: float
    rmse_cents: float
    voicing_error: float
    """Share of the pairs that are voiced on one side only, from 0 to 1."""
    mean_cents: float
    """Mean of the second minus the first: too high is positive."""


def pitch_error(first: Pitch, first_mel: Tensor, second: Pitch, second_mel: Tensor) -> PitchError:
    """Compare tracks ``(T1,)`` and ``(T2,)`` on the frames that warping their mels ``(T, N_MELS)`` pairs."""
    distances = pairwise_distances(mel_cepstra(first_mel), mel_cepstra(second_mel))
    return pitch_error_on_path(first, second, *warp(distances))


def pitch_error_on_path(
    first: Pitch, second: Pitch, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> PitchError:
    """As :func:`pitch_error`, for a path that is known."""
    voiced_first, voiced_second = first.voiced.numpy()[rows], second.voiced.numpy()[columns]
    both = voiced_first & voiced_second
    voicing = float((voiced_first != voiced_second).mean())
    if not both.any():
        return PitchError(float("nan"), float("nan"), voicing, float("nan"))
    log_first = first.log_f0.double().numpy()[rows][both]
    log_second = second.log_f0.double().numpy()[columns][both]
    cents = 1200 / np.log(2) * (log_second - log_first)
    hertz = np.exp(log_second) - np.exp(log_first)
    return PitchError(
        rmse_hz=float(np.sqrt(np.square(hertz).mean())),
        rmse_cents=float(np.sqrt(np.square(cents).mean())),
        voicing_error=voicing,
        mean_cents=float(cents.mean()),
    )
