"""Discriminators: they learn to tell generated speech from real, and so teach the generator."""

from __future__ import annotations

from torch import nn

from shared_models.errors import RecipeError
from shared_models.vocoders.discriminators.judgement import Judgement
from shared_models.vocoders.discriminators.melgan import MelGanDiscriminator
from shared_models.vocoders.discriminators.period import MultiPeriodDiscriminator
from shared_models.vocoders.discriminators.scale import MultiScaleDiscriminator
from shared_models.vocoders.discriminators.spectrogram import (
    LIGHT_OVERLAP,
    LIGHT_STRIDE,
    LIGHT_WINDOWS,
    WHOLE,
    MultiResolutionDiscriminator,
)

__all__ = ["DISCRIMINATORS", "Judgement", "build_discriminator"]

DISCRIMINATORS = ("period", "scale", "spectrogram", "light_spectrogram", "bands", "melgan")


def build_discriminator(kind: str, width: float = 1.0) -> nn.Module:
    """A family of discriminators by name, ``width`` times the published channels; 1.0 is as published.

    Each maps ``wave (B, samples)`` to a :class:`Judgement`. 'bands' is 'spectrogram' with layers of its own
    for each of five frequency bands; 'light_spectrogram' has two windows, fewer frames and fewer bins. Raises
    :class:`RecipeError` for an unknown name.
    """
    match kind:
        case "period":
            return MultiPeriodDiscriminator(width)
        case "scale":
            return MultiScaleDiscriminator(width)
        case "spectrogram":
            return MultiResolutionDiscriminator(width, bands=WHOLE)
        case "light_spectrogram":
            return MultiResolutionDiscriminator(width, LIGHT_WINDOWS, WHOLE, LIGHT_OVERLAP, LIGHT_STRIDE)
        case "bands":
            return MultiResolutionDiscriminator(width)
        case "melgan":
            return MelGanDiscriminator(width)
        case _:
            raise RecipeError(f"there is no discriminator '{kind}'; choose from {', '.join(DISCRIMINATORS)}")
