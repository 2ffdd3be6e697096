"""A signal of a test's own: loudness of the waveform, twice a frame of the mel."""

from __future__ import annotations

from torch import Tensor

from shared_models.audio.mel import HOP


class Loudness:
    """Log-energies of half hops ``(N, 1)``."""

    steps_per_frame = 2.0

    def __call__(self, wave: Tensor) -> Tensor:
        """``wave (samples,)`` to ``(N, 1)``."""
        halves = wave[: len(wave) // (HOP // 2) * (HOP // 2)].view(-1, HOP // 2)
        return (halves.square().mean(1, keepdim=True) + 1e-6).log()
