"""Vocoders: from a mel to a waveform."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from shared_models.accelerator import CPU
from shared_models.errors import RecipeError
from shared_models.vocoders.griffin_lim import GriffinLim
from shared_models.vocoders.kinds import KINDS, PUBLISHED, build_generator
from shared_models.vocoders.neural import NeuralVocoder
from shared_models.vocoders.public_hifigan import import_hifigan
from shared_models.vocoders.vocoder_file import load_vocoder, packaged_vocoder, save_vocoder

__all__ = [
    "KINDS",
    "PUBLISHED",
    "VOCODERS",
    "GriffinLim",
    "NeuralVocoder",
    "Vocoder",
    "build_generator",
    "build_vocoder",
    "import_hifigan",
    "load_vocoder",
    "packaged_vocoder",
    "save_vocoder",
]

VOCODERS = ("griffin_lim", "packaged")
"""The vocoders that a name stands for; any other is a file."""


class Vocoder(Protocol):
    """Anything that turns a mel of :mod:`shared_models.audio.mel` into sound."""

    def __call__(self, mel: Tensor) -> Tensor:
        """Wave ``(..., T * HOP)`` at 22,050 Hz of a natural-log mel ``(..., T, N_MELS)``."""
        ...


def build_vocoder(name_or_path: str | Path, device: torch.device = CPU) -> Vocoder:
    """The vocoder of that name, or in that file, which computes on ``device``; Griffin-Lim does where the mel is.

    Raises :class:`RecipeError` for what is neither a name nor a path, and
    :class:`shared_models.errors.CheckpointError` for a file that cannot be used.
    """
    match str(name_or_path):
        case "griffin_lim":
            return GriffinLim()
        case "packaged":
            return packaged_vocoder().to(device)
    path = Path(name_or_path)
    # A bare word is a misspelt name rather than a path, and deserves the list of names.
    if not path.exists() and not path.suffix and len(path.parts) < 2:
        raise RecipeError(
            f"there is no vocoder '{name_or_path}'; choose one of {', '.join(VOCODERS)}, or give the path of a "
            "vocoder file"
        )
    return load_vocoder(path).to(device)
