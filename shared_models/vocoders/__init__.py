"""Vocoders: from a mel to a waveform."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from shared_models.errors import RecipeError
from shared_models.vocoders.griffin_lim import GriffinLim

__all__ = ["VOCODERS", "GriffinLim", "Vocoder", "build_vocoder"]

VOCODERS = ("griffin_lim",)


class Vocoder(Protocol):
    """Anything that turns a mel of :mod:`shared_models.audio.mel` into sound."""

    def __call__(self, mel: Tensor) -> Tensor:
        """Wave ``(..., T * HOP)`` at 22,050 Hz of a natural-log mel ``(..., T, N_MELS)``."""
        ...


def build_vocoder(kind: str) -> Vocoder:
    """The vocoder of that name; raises :class:`RecipeError` for an unknown one."""
    match kind:
        case "griffin_lim":
            return GriffinLim()
        case _:
            raise RecipeError(f"there is no vocoder '{kind}'; choose one of {', '.join(VOCODERS)}")
