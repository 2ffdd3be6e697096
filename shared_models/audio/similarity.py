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
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from shared_models.audio.reading import Wave, resample
from shared_models.errors import AudioError, MissingExtraError

Embedding = NDArray[np.float32]

_RATE = 16000
_WINDOW = 400
_HOP = 160
_MELS = 40
_WIDTH = 256
_PART = 160  # frames that the LSTM reads at once: 1.6 s
_STEP = round(_RATE / 1.3 / _HOP)  # 1.3 parts a second
_LEAST_COVERAGE = 0.75
_LEVEL_DBFS = -30.0


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


class DVector(nn.Module):
    """Resemblyzer's encoder; :func:`load_d_vector` gives the trained one.

    Example::

        verifier = load_d_vector()
        score = similarity(verifier.embed(clone, 22050), verifier.embed(original, 16000))
    """

    name = "resemblyzer"

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_MELS, _WIDTH, num_layers=3, batch_first=True)
        self.linear = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, mels: Tensor) -> Tensor:
        """Unit embeddings ``(B, 256)`` of power mels ``(B, frames, 40)``."""
        _, (state, _) = self.lstm(mels)
        return nn.functional.normalize(torch.relu(self.linear(state[-1])), dim=1)

    @torch.no_grad()
    def embed(self, wave: Wave, rate: int) -> Embedding:
        """Unit vector ``(256,)``: the normalised mean over parts of 1.6 s, 1.3 of them a second."""
        heard = _raised(resample(wave, rate, _RATE))
        starts = _part_starts(len(heard))
        needed = (starts[-1] + _PART) * _HOP
        padded = np.pad(heard, (0, max(0, needed - len(heard))))
        mel = _power_mel(torch.from_numpy(padded))
        parts = torch.stack([mel[start : start + _PART] for start in starts])
        mean = self(parts).mean(dim=0).numpy()
        return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


@lru_cache(maxsize=1)
def load_d_vector() -> DVector:
    """The trained encoder; raises :class:`MissingExtraError` where its weights are not installed."""
    package = importlib.util.find_spec("resemblyzer")
    if package is None or package.origin is None:
        raise MissingExtraError(
            "speaker similarity needs Resemblyzer's weights: pip install --no-deps resemblyzer==0.1.4"
        )
    checkpoint = torch.load(
        Path(package.origin).parent / "pretrained.pt", map_location="cpu", weights_only=True
    )
    encoder = DVector()
    weights = {k: v for k, v in checkpoint["model_state"].items() if k.startswith(("lstm.", "linear."))}
    encoder.load_state_dict(weights)
    return encoder.eval()


def _raised(wave: Wave) -> Wave:
    """Quiet recordings brought up to the level that the encoder was trained at; loud ones as they are."""
    level = float(np.sqrt(np.square(wave, dtype=np.float64).mean())) if len(wave) else 0.0
    if level == 0.0:
        raise AudioError("a silent recording has no voice to compare")
    return np.asarray(wave * np.float32(max(1.0, 10 ** (_LEVEL_DBFS / 20) / level)), dtype=np.float32)


def _part_starts(samples: int) -> list[int]:
    """First frames of the parts; the last one is kept if the recording fills three quarters of it."""
    frames = -(-(samples + 1) // _HOP)
    starts = list(range(0, max(1, frames - _PART + _STEP + 1), _STEP))
    if len(starts) > 1 and samples - starts[-1] * _HOP < _LEAST_COVERAGE * _PART * _HOP:
        starts.pop()
    return starts


def _power_mel(wave: Tensor) -> Tensor:
    """Power mel ``(frames, 40)``, centred frames, without a log."""
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(wave, _WINDOW, _HOP, _WINDOW, window, pad_mode="constant", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    mel: Tensor = power.T @ _basis()
    return mel


@lru_cache(maxsize=1)
def _basis() -> Tensor:
    basis: Tensor = melscale_fbanks(
        _WINDOW // 2 + 1, 0.0, _RATE / 2, _MELS, _RATE, norm="slaney", mel_scale="slaney"
    )
    return basis
