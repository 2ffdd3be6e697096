"""What discriminators say of a batch of waves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Judgement:
    """One family's verdict: an entry for each of its discriminators."""

    scores: tuple[Tensor, ...]
    """Each ``(B, places)``: higher where the wave sounds real."""
    features: tuple[tuple[Tensor, ...], ...]
    """Each discriminator's layers in order, for feature matching."""
