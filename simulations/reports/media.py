"""Sound and pictures of sound that fit inside one HTML file: Ogg Vorbis and palette PNG as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from shared_models.errors import AudioError

LONGEST_SECONDS = 12.0
MEL_RANGE = (-10.0, 1.5)
"""Natural log mel that is drawn darkest and brightest: the same in all plots, so that they compare."""


@dataclass(frozen=True)
class Clip:
    """A recording with its mel plot, each as a data URI."""

    audio: Markup
    plot: Markup
    seconds: float

    @property
    def size(self) -> int:
        """Bytes that the clip adds to the page."""
        return len(self.audio) + len(self.plot)


def load_clip(path: Path) -> Clip | None:
    """The recording at ``path``, cut to its first 12 seconds; None where it is missing or unusable."""
    import torch

    from shared_models.audio.mel import SAMPLE_RATE, log_mel
    from shared_models.audio.reading import encode_audio, read_audio, resample

    try:
        wave, rate = read_audio(path)
        wave = resample(wave, rate, SAMPLE_RATE)[: int(LONGEST_SECONDS * SAMPLE_RATE)]
        mel = log_mel(torch.from_numpy(wave)).numpy()
    except AudioError:
        return None
    return Clip(
        audio=data_uri("audio/ogg", encode_audio(wave, SAMPLE_RATE, ".ogg")),
        plot=data_uri("image/png", mel_picture(mel)),
        seconds=len(wave) / SAMPLE_RATE,
    )


def mel_picture(mel: np.ndarray) -> bytes:
    """A PNG, T wide and n_mels high, low bands at the bottom, of a natural-log mel ``(T, n_mels)``."""
    from matplotlib import colormaps
    from PIL import Image

    low, high = MEL_RANGE
    # 128 shades: twice as many cannot be told apart, and compress a quarter worse.
    shades = (np.clip((mel - low) / (high - low), 0, 1) * 127).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(shades.T[::-1]), mode="L").convert("P")
    palette = (colormaps["magma"](np.linspace(0, 1, 128))[:, :3] * 255).astype(np.uint8)
    picture.putpalette(palette.flatten().tolist())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_uri(kind: str, data: bytes) -> Markup:
    """``data`` as a URI that needs no network; safe in an attribute, since base64 has no quotes."""
    return Markup(f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}")
