"""Padded sequences: which steps are real, and means that only see those.

A right-padded batch is ``(B, N, ...)`` with lengths ``(B,)``. Whatever a model computes for one sequence
must not depend on the others in its batch, so padding is zeroed before every convolution and left out of
every mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def valid_steps(lengths: Tensor, longest: int) -> Tensor:
    """``(B, longest)`` bool, true where a step is within its sequence's length ``(B,)``."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over a sequence's own steps: ``(B, N)`` values and bool mask to ``(B,)``; 0 where none is real."""
    weights = mask.to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1.0)


def window_starts(lengths: Tensor, window: int, generator: torch.Generator | None) -> Tensor:
    """First step ``(B,)`` of a uniformly random run of at most ``window`` steps in each sequence.

    Draws B numbers from ``generator`` (torch's global one if None).
    """
    room = (lengths - window).clamp_min(0) + 1
    drawn = torch.rand(len(lengths), generator=generator).to(lengths.device)
    return torch.minimum((drawn * room).long(), room - 1)


def take_window(sequence: Tensor, starts: Tensor, width: int) -> Tensor:
    """``(B, width, C)``: of each sequence ``(B, N, C)``, ``width`` steps from its start ``(B,)``.

    Steps beyond N repeat the last one: mask them by length.
    """
    steps = starts[:, None] + torch.arange(width, device=sequence.device)
    return take_steps(sequence, steps.clamp_max(sequence.shape[1] - 1))


def take_steps(sequence: Tensor, steps: Tensor) -> Tensor:
    """Steps ``(B, W)`` int64 of each sequence ``(B, N, C)``, as ``(B, W, C)``."""
    batch, length, channels = sequence.shape
    rows = steps + length * torch.arange(batch, device=steps.device)[:, None]
    # One index_select of whole rows: its backward adds rows, which is far cheaper than gather's.
    return sequence.reshape(-1, channels).index_select(0, rows.reshape(-1)).view(batch, -1, channels)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A run of steps of each sequence ``(B, N, ...)``. Its width is known without reading an accelerator's memory."""

    starts: Tensor
    """``(B,)`` int64: the first step."""
    lengths: Tensor
    """``(B,)`` int64: how many steps."""
    width: int
    """W: at least the longest of ``lengths``."""
    end: int
    """Every step of the sequences lies before it."""

    @classmethod
    def whole(cls, lengths: Tensor, longest: int) -> Excerpt:
        """All steps of sequences of ``lengths (B,)``, the longest of which has ``longest``."""
        return cls(torch.zeros_like(lengths), lengths, longest, longest)

    @classmethod
    def drawn(
        cls, lengths: Tensor, longest: int, window: int | None, generator: torch.Generator | None
    ) -> Excerpt:
        """A random run of at most ``window`` steps of each sequence; all of them without a window.

        Draws B numbers from ``generator`` (torch's global one if None), and none without a window.
        """
        if window is None:
            return cls.whole(lengths, longest)
        starts = window_starts(lengths, window, generator)
        return cls(starts, lengths.clamp_max(window), min(window, longest), longest)

    def mask(self) -> Tensor:
        """``(B, W)`` bool: which steps of the run are real."""
        return valid_steps(self.lengths, self.width)

    def steps(self) -> Tensor:
        """``(B, W)`` int64: their numbers in the whole sequence."""
        return self.starts[:, None] + torch.arange(self.width, device=self.starts.device)

    def of(self, sequence: Tensor) -> Tensor:
        """``(B, W, C)`` of ``sequence (B, N, C)``."""
        return take_window(sequence, self.starts, self.width)
