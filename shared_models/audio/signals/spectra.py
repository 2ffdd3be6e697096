"""What public speaker encoders hear: spectra of 16 kHz speech, 100 frames a second."""

from __future__ import annotations

from torch import Tensor

from shared_models.audio.sixteen_kilohertz import STEPS_PER_FRAME, at_16_khz, filterbanks, power_mel


class PowerMel:
    """Resemblyzer's 40-bin power mel ``(N, 40)``."""

    steps_per_frame = STEPS_PER_FRAME

    def __call__(self, wave: Tensor) -> Tensor:
        """``wave (samples,)`` to ``(N, 40)``."""
        return power_mel(at_16_khz(wave))


class FilterBanks40:
    """40 filters in decibels ``(N, 40)``: an x-vector's."""

    steps_per_frame = STEPS_PER_FRAME

    def __call__(self, wave: Tensor) -> Tensor:
        """``wave (samples,)`` to ``(N, 40)``."""
        return filterbanks(at_16_khz(wave), 40)


class FilterBanks80:
    """80 filters in decibels ``(N, 80)``: ECAPA-TDNN's."""

    steps_per_frame = STEPS_PER_FRAME

    def __call__(self, wave: Tensor) -> Tensor:
        """``wave (samples,)`` to ``(N, 80)``."""
        return filterbanks(at_16_khz(wave), 80)
