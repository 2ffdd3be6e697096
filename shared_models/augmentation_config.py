"""The recipe's section on augmentation."""

from __future__ import annotations

from pydantic import Field

from shared_models.recipe_section import Section


class AugmentationConfig(Section):
    """What is changed at random of the references that sources hear, and of what a speaker encoder learns from.

    It happens in training alone, and what is to be spoken is never changed.
    """

    share: float = Field(0.0, ge=0, le=1, description="Share of references that are changed; 0: none.")
    time_masks: int = Field(2, ge=0, description="SpecAugment: stretches of time that are blanked.")
    time_mask_frames: int = Field(10, ge=1, description="Longest such stretch, in frames of the mel.")
    band_masks: int = Field(1, ge=0, description="SpecAugment: ranges of frequency that are blanked.")
    band_mask_share: float = Field(0.1, gt=0, lt=1, description="Widest such range, as a share of the bands.")
    warp: float = Field(
        0.1,
        ge=0,
        lt=0.5,
        description="SpecAugment: farthest that a point moves in time, as a share of the length.",
    )
    noise_snr: float | None = Field(
        20.0, description="Loudest white noise, as decibels of the speech above it; null adds none."
    )
    pitch: float = Field(1.0, ge=0, le=12, description="Farthest that spectra move up or down, in semitones.")
    speed: float = Field(0.1, ge=0, lt=0.5, description="Largest change of speed, as a share.")
