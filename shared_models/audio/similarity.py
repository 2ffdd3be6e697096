"""How alike two voices are: the cosine of speaker embeddings from an encoder that training never saw.

The encoder is Resemblyzer's d-vector (GE2E, Wan 2018, arXiv 1710.10467): 40 power mels of 16 kHz audio,
25 ms windows every 10 ms, three LSTM layers of 256, and a linear layer whose ReLU makes every similarity at
least 0. Only its weights are taken from the package; the network and its features are written here, which
avoids the package's heavier dependencies and gives the same embeddings. Recordings are not cut by a voice
activity detector: the project's recordings are trimmed already.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared_models.audio.reading import Wave
from shared_models.errors import MissingExtraError
from shared_models.speakers.encoders.encoder import embed_recording
from shared_models.speakers.encoders.encoder_file import load_encoder

Embedding = NDArray[np.float32]


class SpeakerVerifier(Protocol):
    """Anything that embeds a voice in a space where the cosine says how alike two voices are."""

    name: str

    def embed(self, wave: Wave, rate: int) -> Embedding:
        """Unit vector ``(E,)`` of ``wave (samples,)``; raises :class:`AudioError` for silence."""
        ...


def similarity(first: Embedding, second: Embedding) -> float:
    """Cosine of two embeddings ``(E,)``."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def centroid(embeddings: list[Embedding]) -> Embedding:
    """The unit mean ``(E,)`` of one speaker's embeddings: what a clone of the voice is compared with."""
    mean = np.mean(embeddings, axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


class Resemblyzer:
    """Resemblyzer's d-vector; :func:`load_d_vector` gives the trained one.

    Example::

        verifier = load_d_vector()
        score = similarity(verifier.embed(clone, 22050), verifier.embed(original, 16000))
    """

    name = "resemblyzer"

    def __init__(self, weights: Path) -> None:
        self.encoder = load_encoder(weights, "d_vector")

    def embed(self, wave: Wave, rate: int) -> Embedding:
        """Unit vector ``(256,)``: the normalised mean over parts of 1.6 s, 1.3 of them a second."""
        return np.asarray(embed_recording(self.encoder, wave, rate).numpy(), dtype=np.float32)


def verifier_weights() -> Path | None:
    """Where the verifier's weights are; None where they are not installed."""
    package = importlib.util.find_spec("resemblyzer")
    return (
        None if package is None or package.origin is None else Path(package.origin).parent / "pretrained.pt"
    )


@lru_cache(maxsize=1)
def load_d_vector() -> Resemblyzer:
    """The trained encoder; raises :class:`MissingExtraError` where its weights are not installed."""
    weights = verifier_weights()
    if weights is None:
        raise MissingExtraError(
            "speaker similarity needs Resemblyzer's weights: pip install --no-deps resemblyzer==0.1.4"
        )
    return Resemblyzer(weights)
