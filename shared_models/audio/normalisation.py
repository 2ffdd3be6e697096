"""Fixed units in which the model sees mel, pitch and energy.

The usual corpus mean and standard deviation would be statistics of private speech, so releasing them with
the model would be a release of that speech. These constants are round numbers that fit speech at -24 dBFS
roughly; the model learns the rest.
"""

from __future__ import annotations

import math

from torch import Tensor

MEL_CENTRE, MEL_SPREAD = -5.5, 2.2
"""Natural log of a HiFi-GAN mel bin."""
PITCH_CENTRE, PITCH_SPREAD = math.log(160.0), 0.4
"""Natural log of Hz: between a low and a high voice, and about half an octave."""
ENERGY_CENTRE, ENERGY_SPREAD = 2.0, 1.8
"""Natural log of the L2 norm of one frame's STFT magnitude."""
BOUND = 3.5
"""Pitch and energy are clipped at so many spreads, lest digital silence or a pitch error rules a mean."""
SEMITONE = math.log(2.0) / 12 / PITCH_SPREAD
"""One semitone in normalised pitch."""


def normalise_mel(mel: Tensor) -> Tensor:
    """Natural-log mel of any shape in units of about one standard deviation."""
    return (mel - MEL_CENTRE) / MEL_SPREAD


def restore_mel(normalised: Tensor) -> Tensor:
    """The inverse of :func:`normalise_mel`."""
    return normalised * MEL_SPREAD + MEL_CENTRE


def normalise_pitch(log_f0: Tensor) -> Tensor:
    """Natural log of Hz, of any shape, in normalised units within ``±BOUND``."""
    return ((log_f0 - PITCH_CENTRE) / PITCH_SPREAD).clamp(-BOUND, BOUND)


def restore_pitch(normalised: Tensor) -> Tensor:
    """The inverse of :func:`normalise_pitch` within its bounds."""
    return normalised * PITCH_SPREAD + PITCH_CENTRE


def normalise_energy(log_energy: Tensor) -> Tensor:
    """Natural log of a frame's magnitude, of any shape, in normalised units within ``±BOUND``."""
    return ((log_energy - ENERGY_CENTRE) / ENERGY_SPREAD).clamp(-BOUND, BOUND)
