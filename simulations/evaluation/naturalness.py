"""How natural speech sounds, as two networks that learned it from listeners predict: 1 (bad) to 5 (excellent).

Both are Microsoft's, under MIT, with the weights inside their packages; no recording to compare with is
needed. DNSMOS (P.835, overall; Reddy 2022, arXiv 2110.01763) was made for noise suppressors, so it rewards
clean sound: it may well put a synthetic voice above a real recording, and says who is ahead only among
copies of the same recordings. Distill-MOS (Stahl & Gamper 2025, arXiv 2502.05356) learned from far more
kinds of damage, among them vocoders. Only the weights are taken from the packages; what surrounds them is
written here, which avoids their heavier dependencies (librosa, transformers) and gives the same scores.
"""

from __future__ import annotations

import importlib.util
import math
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared_models.audio.reading import Wave, resample
from shared_models.errors import AudioError, MissingExtraError
from simulations.evaluation.package_weights import file_of_package

_RATE = 16000

_DNSMOS_SAMPLES = int(9.01 * _RATE)
_DNSMOS_OVERALL = (-0.06766283, 1.11546468, 0.04602535)
"""From the network's raw value to the scale of listeners: a polynomial, the highest power first."""

_DISTILL_SAMPLES = 122_880
_DISTILL_HOP = 16_000
_WINDOW, _HOP = 320, 160
_COMPRESSION = 0.3
_CHANNELS = (2, 64, 64, 128, 256, 256, 256)
_FEATURES, _WIDTH, _HEADS, _LAYERS, _POSITIONS = 1024, 200, 8, 7, 384
_RENAMED = {
    "cnn.cnn.": "spectrum.",
    "transformer_pool_attn.norm_input.": "norms.0.",
    "transformer_pool_attn.transformer.norm.": "norms.1.",
    "transformer_pool_attn.transformer.position_encoding.pe": "positions",
    "transformer_pool_attn.transformer.linear_proj.": "narrow.",
    "transformer_pool_attn.transformer.transformer_encoder.": "encoder.",
    "transformer_pool_attn.norm_trans.": "last_norm.",
    "transformer_pool_attn.pool.linear1.": "attention.0.",
    "transformer_pool_attn.pool.linear2.": "attention.2.",
    "transformer_pool_attn.pool.linear3.": "verdict.",
}
"""Where the published weights go."""


class Listener(Protocol):
    """Anything that says how natural a recording sounds."""

    name: str

    def score(self, wave: Wave, rate: int) -> float:
        """Opinion of ``wave (samples,)``, from 1 to 5; raises :class:`AudioError` where there is nothing."""
        ...


class Dnsmos:
    """DNSMOS P.835, the overall score; :func:`load_dnsmos` gives it."""

    name = "dnsmos"

    def __init__(self, session: Any) -> None:
        self._session = session

    def score(self, wave: Wave, rate: int) -> float:
        """Mean over windows of 9.01 s, one a second; what is shorter is repeated until it fills one."""
        heard = _heard(wave, rate)
        while len(heard) < _DNSMOS_SAMPLES:
            heard = np.concatenate([heard, heard])
        # Rounded as the reference does it, which leaves out windows that come out a sample short.
        spans = [(n * _RATE, int((n + 9.01) * _RATE)) for n in range(int(len(heard) // _RATE - 9.01) + 1)]
        windows = [heard[start:end] for start, end in spans]
        raw = [self._overall(window) for window in windows if len(window) >= _DNSMOS_SAMPLES]
        return float(np.mean(np.polyval(_DNSMOS_OVERALL, raw)))

    def _overall(self, window: Wave) -> float:
        return float(self._session.run(None, {"input_1": window[None]})[0][0, 2])


class DistillMos(nn.Module):
    """Distill-MOS; :func:`load_distill_mos` gives the trained network.

    Example::

        load_distill_mos().score(wave, 22050)  # 4.4
    """

    name = "distillmos"
    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (fewer, more) in enumerate(pairwise(_CHANNELS)):
            stride = (1 if number == 0 else 2, 2 if number == len(_CHANNELS) - 2 else 1)
            layers += [nn.Conv2d(fewer, more, 3, stride, padding=(0, 1)), nn.LeakyReLU(0.1)]
        self.spectrum = nn.Sequential(*layers)
        self.norms = nn.Sequential(nn.BatchNorm1d(_FEATURES), nn.BatchNorm1d(_FEATURES))
        self.narrow = nn.Linear(_FEATURES, _WIDTH)
        self.register_buffer("positions", torch.zeros(1, _POSITIONS, _WIDTH))
        layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 2 * _WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.last_norm = nn.BatchNorm1d(_WIDTH)
        self.attention = nn.Sequential(nn.Linear(_WIDTH, 2 * _WIDTH), nn.ReLU(), nn.Linear(2 * _WIDTH, 1))
        self.verdict = nn.Linear(_WIDTH, 1)

    def forward(self, waves: Tensor) -> Tensor:
        """Scores ``(B,)`` of ``waves (B, 122880)`` at 16 kHz: 7.68 s each, 384 frames of features."""
        frames = self.spectrum(_compressed(waves)).flatten(1, 2)
        frames = self.encoder(self.narrow(self.norms(frames).mT) + self.positions)
        frames = self.last_norm(frames.mT).mT
        weights = self.attention(frames).softmax(dim=1)
        return 1 + 4 * torch.sigmoid(self.verdict((weights * frames).sum(dim=1)))[:, 0]

    @torch.no_grad()
    def score(self, wave: Wave, rate: int) -> float:
        """Mean over windows of 7.68 s, at most a second apart; what is shorter is followed by silence."""
        heard = torch.from_numpy(_heard(wave, rate))
        heard = F.pad(heard, (0, max(0, _DISTILL_SAMPLES - len(heard))))
        beyond = len(heard) - _DISTILL_SAMPLES
        starts = np.linspace(0, 1, math.ceil(beyond / _DISTILL_HOP) + 1) * beyond
        windows = torch.stack([heard[int(start) : int(start) + _DISTILL_SAMPLES] for start in starts])
        loudest = windows.abs().amax(dim=1, keepdim=True)
        # One window after another: together they would need gigabytes for a minute of speech.
        return float(torch.cat([self(window[None]) for window in windows / (loudest + 1e-8)]).mean())


@lru_cache(maxsize=1)
def load_dnsmos() -> Dnsmos:
    """DNSMOS; raises :class:`MissingExtraError` where its weights or ONNX Runtime are not installed."""
    weights = file_of_package("speechmos", "dnsmos_models/sig_bak_ovr.onnx")
    if weights is None or importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtraError("DNSMOS needs the 'evaluation' extra: pip install 'fedvoice[evaluation]'")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return Dnsmos(onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"]))


@lru_cache(maxsize=1)
def load_distill_mos() -> DistillMos:
    """Distill-MOS; raises :class:`MissingExtraError` where its weights are not installed."""
    weights = file_of_package("distillmos", "weights/distill_mos_v7.pt")
    if weights is None:
        raise MissingExtraError("Distill-MOS needs its weights: pip install --no-deps distillmos==0.9.1")
    published = torch.load(weights, map_location="cpu", weights_only=True)["model"]
    network = DistillMos()
    network.load_state_dict({_renamed(name): tensor for name, tensor in published.items()})
    return network.eval()


def load_listeners() -> list[Listener]:
    """Both of them; raises :class:`MissingExtraError`."""
    return [load_dnsmos(), load_distill_mos()]


def _renamed(name: str) -> str:
    before, after = next((b, a) for b, a in _RENAMED.items() if name.startswith(b))
    return after + name.removeprefix(before)


def _heard(wave: Wave, rate: int) -> Wave:
    if len(wave) == 0:
        raise AudioError("a recording without samples cannot be judged; leave it out")
    limited = np.clip(np.asarray(wave, dtype=np.float32), -1.0, 1.0)
    return np.ascontiguousarray(resample(limited, rate, _RATE))


def _compressed(waves: Tensor) -> Tensor:
    """Real and imaginary part ``(B, 2, 161, T)`` of the spectrum, its magnitude to the power of 0.3."""
    edge = (_WINDOW - _HOP) // 2
    padded = F.pad(waves, (edge, edge), mode="reflect")
    window = torch.hann_window(_WINDOW, device=waves.device)
    spectrum = torch.stft(padded, _WINDOW, _HOP, _WINDOW, window, center=False, return_complex=True)
    scaled = spectrum * spectrum.abs().clamp(min=1e-12) ** (_COMPRESSION - 1)
    return torch.view_as_real(scaled).permute(0, 3, 1, 2)
