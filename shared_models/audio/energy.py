"""Loudness over time, from the same STFT as the mel (FastSpeech 2, Ren 2020, arXiv 2006.04558)."""

from __future__ import annotations

import torch
from torch import Tensor

from shared_models.audio.mel import FLOOR


def log_energy(spectrum: Tensor) -> Tensor:
    """Natural log of the L2 norm over frequency: ``(..., T)`` of a magnitude ``(..., T, bins)``.

    The paper's energy is the norm itself; its log is closer to loudness and to a normal distribution.
    """
    norm: Tensor = torch.linalg.vector_norm(spectrum, dim=-1)
    return norm.clamp(min=FLOOR).log()
