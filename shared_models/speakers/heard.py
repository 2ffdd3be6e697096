"""What may be heard of speakers: reference recordings, as signals by name.

The mel is always among the signals; what else there is, the waveform or what a frozen extractor says, the recipe's
``features.signals`` names (:data:`shared_models.audio.signals.SIGNALS`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shared_models.audio.signals import steps_per_frame
from shared_models.layers.sequences import take_window, window_starts

MEL = "mel"


@dataclass(frozen=True, slots=True)
class Reference:
    """What is heard of one recording: each signal ``(N, C)``, all of the same part of it."""

    signals: Mapping[str, Tensor]

    @property
    def frames(self) -> int:
        """Frames of the mel."""
        return len(self.signals[MEL])

    def excerpt(self, start: int, frames: int) -> Reference:
        """Only ``frames`` frames from frame ``start`` on, of every signal."""

        def cut(name: str, signal: Tensor) -> Tensor:
            steps = steps_per_frame(name)
            return signal[round(start * steps) : round((start + frames) * steps)]

        return Reference({name: cut(name, signal) for name, signal in self.signals.items()})


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of B references, padded with 0."""

    values: Tensor
    """``(B, N, C)``."""
    lengths: Tensor
    """``(B,)`` int64 steps; 0 where nothing is heard."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the sources of B utterances' voices are given."""

    rows: Tensor
    """``(B,)`` int64: whose voices they are, as rows of the model's voices; all 0 on a device."""
    signals: Mapping[str, Signal] = field(default_factory=dict)
    """By name; empty where nobody is heard."""
    own: Mapping[str, Tensor] = field(default_factory=dict)
    """What the voices of ``rows`` keep of their own ``(B, ...)``, by name; the model looks it up."""

    @classmethod
    def of(cls, references: Sequence[Reference], rows: Tensor | None = None) -> Heard:
        """References side by side; ``rows (B,)`` are all 0 if not given."""
        signals = {
            name: Signal(
                pad_sequence([reference.signals[name] for reference in references], batch_first=True),
                torch.tensor(
                    [len(r.signals[name]) for r in references], device=references[0].signals[name].device
                ),
            )
            for name in references[0].signals
        }
        device = references[0].signals[MEL].device
        own = torch.zeros(len(references), dtype=torch.int64, device=device) if rows is None else rows
        return cls(own, signals)

    @property
    def nobody(self) -> bool:
        """Whether no reference holds anything: what is left are the voices' own numbers."""
        return all(signal.values.shape[1] == 0 for signal in self.signals.values())

    def to(self, device: torch.device) -> Heard:
        """The same on another device."""
        signals = {n: Signal(s.values.to(device), s.lengths.to(device)) for n, s in self.signals.items()}
        return Heard(self.rows.to(device), signals, {name: t.to(device) for name, t in self.own.items()})

    def excerpt(self, frames: int, generator: torch.Generator | None) -> Heard:
        """A random run of at most ``frames`` frames of each reference, the same run of every signal.

        Draws B numbers from ``generator``.
        """
        lengths = self.signals[MEL].lengths
        starts, kept = window_starts(lengths, frames, generator), lengths.clamp_max(frames)
        cut = {name: _run_of(signal, name, starts, kept, frames) for name, signal in self.signals.items()}
        return replace(self, signals=cut)


def _run_of(signal: Signal, name: str, starts: Tensor, frames: Tensor, most: int) -> Signal:
    """Of each reference ``frames (B,)`` frames, none more than ``most``, from ``starts (B,)`` on."""
    steps = steps_per_frame(name)
    first = (starts * steps).long()
    width = min(math.ceil(most * steps), signal.values.shape[1])
    lengths = torch.minimum((frames * steps).long(), (signal.lengths - first).clamp_min(0))
    return Signal(take_window(signal.values, first, width), lengths)
