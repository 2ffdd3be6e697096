"""Small recordings with a transcript, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared_models.audio.reading import write_audio
from shared_models.utterance import Utterance

RATE = 24000


def buzzing(seconds: float, hertz: float = 140.0, rate: int = RATE) -> np.ndarray:
    """A voice-like wave with syllables between 0.25 s of faint noise at either end."""
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 13))
    voiced = 0.1 * buzz * (0.3 + 0.7 * np.abs(np.sin(2 * np.pi * 2 * t + 0.5)))
    silence = np.zeros(rate // 4)
    wave = np.concatenate([silence, voiced, silence])
    return (wave + 1e-4 * np.random.default_rng(0).standard_normal(len(wave))).astype(np.float32)


def record(
    folder: Path, name: str, seconds: float = 1.5, text: str = "a cat", hertz: float = 140.0
) -> Utterance:
    """An utterance whose speech lasts ``seconds``."""
    path = folder / f"{name}.wav"
    write_audio(path, buzzing(seconds, hertz), RATE)
    return Utterance(utterance_id=name, speaker_id="anna", audio=path, text=text)
