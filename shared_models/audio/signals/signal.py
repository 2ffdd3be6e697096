"""What an extractor of a signal is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # recipes are checked against the names of signals where torch is not loaded
    from torch import Tensor


class Extractor(Protocol):
    """Says something of a recording, step by step. Made without arguments; what it says is kept in the cache."""

    @property
    def steps_per_frame(self) -> float:
        """How many of its steps one frame of the mel lasts: what an excerpt of both is cut by."""

    def __call__(self, wave: Tensor) -> Tensor:
        """``wave (samples,)`` at 22,050 Hz, trimmed and levelled, to ``(N, C)`` float32."""
