"""Recordings in the formats of phones, made by the decoder's own library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def phone_recording(path: Path, codec: str, wave: np.ndarray, rate: int) -> Path:
    """``wave (samples,)`` encoded into ``path``, whose suffix names the container; skips without PyAV."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        packets = [*stream.encode(frame), *stream.encode()]
        for packet in packets:
            container.mux(packet)
    return path
