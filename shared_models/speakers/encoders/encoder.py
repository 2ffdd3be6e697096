"""What a speaker encoder is, and one embedding of one recording."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared_models.audio.reading import Wave, resample
from shared_models.audio.sixteen_kilohertz import HOP, RATE, filterbanks, power_mel
from shared_models.errors import AudioError
from shared_models.kinds import class_at
from shared_models.speakers.encoders import ENCODERS
from shared_models.speakers.encoders.d_vector import PART, DVector, part_starts

_LEVEL_DBFS = -30.0
_LEAST_SECONDS = 0.3


class Encoder(Protocol):
    """A module from spectra ``(B, N, bins)`` to embeddings ``(B, width)``, which are compared by their cosine."""

    hears: str
    """Which signal its spectra are (:data:`shared_models.audio.signals.SIGNALS`)."""
    sizes: Any
    """The dataclass of its dimensions."""

    @property
    def width(self) -> int:
        """Of an embedding."""

    def __call__(self, spectra: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``lengths (B,)`` where some are padded, which changes no row's result."""


def build_encoder(kind: str, **sizes: Any) -> Any:
    """An encoder of that kind with random weights; ``sizes`` are fields of its dataclass of dimensions."""
    made = class_at(ENCODERS[kind])
    return made(type(made().sizes)(**sizes)) if sizes else made()


@torch.no_grad()
def embed_recording(encoder: Any, wave: Wave, rate: int) -> Tensor:
    """The unit embedding ``(width,)`` of ``wave (samples,)`` on the processor; ``encoder`` is in evaluation mode.

    A d-vector is the mean over parts of 1.6 s, as it was trained; the others hear the whole. Quiet recordings are
    brought up to the level of the training. Raises :class:`AudioError` for silence, and for less than 0.3 s.
    """
    heard = raised(resample(wave, rate, RATE))
    if len(heard) < _LEAST_SECONDS * RATE:
        raise AudioError(
            f"{len(heard) / RATE:.2f} s are too short to know a voice by: {_LEAST_SECONDS} s are needed"
        )
    device = next(encoder.parameters()).device
    if isinstance(encoder, DVector):
        padded = np.pad(heard, (0, max(0, (part_starts(len(heard))[-1] + PART) * HOP - len(heard))))
        whole: Tensor = encoder.whole(power_mel(torch.from_numpy(padded)).to(device), len(heard))
        return whole.cpu()
    return embed_spectra(encoder, filterbanks(torch.from_numpy(heard), encoder.sizes.bins))


@torch.no_grad()
def embed_spectra(encoder: Any, spectra: Tensor) -> Tensor:
    """The unit embedding ``(width,)`` on the processor of one recording's ``spectra (N, bins)``.

    ``encoder`` is in evaluation mode.
    """
    heard = spectra.to(next(encoder.parameters()).device)
    if isinstance(encoder, DVector):
        samples = (len(heard) - 1) * HOP
        # A power mel of silence is 0.
        padded = F.pad(heard, (0, 0, 0, max(0, part_starts(samples)[-1] + PART - len(heard))))
        whole: Tensor = encoder.whole(padded, samples)
        return whole.cpu()
    unit: Tensor = F.normalize(encoder(heard[None]), dim=1)[0].cpu()
    return unit


def raised(wave: Wave) -> Wave:
    """Quiet recordings brought up to -30 dBFS, the level that d-vectors were trained at; loud ones as they are.

    Raises :class:`AudioError` for silence.
    """
    level = float(np.sqrt(np.square(wave, dtype=np.float64).mean())) if len(wave) else 0.0
    if level == 0.0:
        raise AudioError("a silent recording has no voice to compare")
    return np.asarray(wave * np.float32(max(1.0, 10 ** (_LEVEL_DBFS / 20) / level)), dtype=np.float32)
