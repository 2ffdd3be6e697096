"""What is computed from one utterance, and a batch of it: the data that models see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shared_models.speakers.heard import MEL, Heard, Reference


@dataclass(frozen=True, slots=True)
class Features:
    """One utterance as tensors. L phonemes, T frames (22,050 Hz, hop 256: 86.13 frames a second)."""

    utterance_id: str
    phonemes: Tensor
    """``(L,)`` int64 ids of :mod:`shared_models.text.symbols`."""
    mel: Tensor
    """``(T, n_mels)`` float32 natural-log mel in HiFi-GAN's convention."""
    log_f0: Tensor
    """``(T,)`` float32 natural log of Hz, interpolated through unvoiced frames."""
    voiced: Tensor
    """``(T,)`` bool."""
    energy: Tensor
    """``(T,)`` float32 natural log of the L2 norm of the STFT magnitude."""
    durations: Tensor | None = None
    """``(L,)`` int64 frames a phoneme, summing to T; None where an aligner must find them."""
    signals: Mapping[str, Tensor] = field(default_factory=dict)
    """What else sources hear, ``(N, C)`` float32 by name (:data:`shared_models.audio.signals.SIGNALS`)."""

    @property
    def reference(self) -> Reference:
        """The whole recording, as a reference for its speaker."""
        return Reference({MEL: self.mel, **self.signals})

    def to(self, device: torch.device) -> Features:
        """The utterance on another device."""
        signals = {name: signal.to(device) for name, signal in self.signals.items()}
        return replace(self, signals=signals, **_moved(self, device))

    @property
    def nbytes(self) -> int:
        """What its tensors take, in bytes."""
        return sum(tensor.nbytes for tensor in (*_tensors(self).values(), *self.signals.values()))


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded utterances. B utterances, L and T the longest in the batch."""

    phonemes: Tensor
    """``(B, L)`` int64, padded with 0."""
    phoneme_lengths: Tensor
    """``(B,)`` int64."""
    mel: Tensor
    """``(B, T, n_mels)`` padded with 0."""
    mel_lengths: Tensor
    """``(B,)`` int64."""
    log_f0: Tensor
    """``(B, T)``."""
    voiced: Tensor
    """``(B, T)`` bool."""
    energy: Tensor
    """``(B, T)``."""
    durations: Tensor | None
    """``(B, L)`` int64, 0 for an utterance that lacks them; None if all do."""
    heard: Heard
    """Whose voices they are, and of each speaker another utterance, for the sources that hear one."""
    aligned: tuple[bool, ...]
    """Which of the B utterances bring durations. Not a tensor, because it decides what is computed."""

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return replace(self, heard=self.heard.to(device), **_moved(self, device))


def _moved(tensors: Features | Batch, device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) for name, value in _tensors(tensors).items()}


def _tensors(holder: Features | Batch) -> dict[str, Tensor]:
    found = {f.name: getattr(holder, f.name) for f in fields(holder)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def collate(
    items: Sequence[Features], references: Sequence[Reference] | None, speakers: Sequence[int] | None = None
) -> Batch:
    """Pad utterances into a :class:`Batch`; with ``references``, one an item, or None where nobody is heard.

    ``speakers`` are rows of the model's voices, all 0 if None. The batch is where the utterances are. What an
    utterance brings it keeps, whatever the others of the batch lack.
    """
    device = items[0].mel.device
    rows = torch.tensor(list(speakers) if speakers is not None else [0] * len(items), device=device)
    aligned = tuple(f.durations is not None for f in items)
    durations = [torch.zeros_like(f.phonemes) if f.durations is None else f.durations for f in items]
    return Batch(
        phonemes=pad_sequence([f.phonemes for f in items], batch_first=True),
        phoneme_lengths=torch.tensor([len(f.phonemes) for f in items], device=device),
        mel=pad_sequence([f.mel for f in items], batch_first=True),
        mel_lengths=torch.tensor([len(f.mel) for f in items], device=device),
        log_f0=pad_sequence([f.log_f0 for f in items], batch_first=True),
        voiced=pad_sequence([f.voiced for f in items], batch_first=True),
        energy=pad_sequence([f.energy for f in items], batch_first=True),
        durations=pad_sequence(durations, batch_first=True) if any(aligned) else None,
        heard=Heard(rows) if references is None else Heard.of(references, rows),
        aligned=aligned,
    )
