"""The waveform itself, for sources that bring an encoder of their own."""

from __future__ import annotations

from torch import Tensor

from shared_models.audio.mel import HOP


class Waveform:
    """Samples at 22,050 Hz, one channel: ``(samples, 1)``."""

    steps_per_frame = float(HOP)

    def __call__(self, wave: Tensor) -> Tensor:
        """``wave (samples,)`` to ``(samples, 1)``."""
        return wave[:, None]
