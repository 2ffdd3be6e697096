"""PerTh's networks, with the weights of the package ``resemble-perth``.

An encoder and a detector of 1-d convolutions over the levels below 2 kHz (Resemble AI, "PerTh", 2023). The networks
are written here, and only the weights are taken from the package.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared_models.audio.reading import Wave
from shared_models.errors import WatermarkError
from shared_models.watermark.spectrum import BINS, Array, levels_of, mark

HIDDEN = 256
THRESHOLD = 0.9
"""A score from which on speech counts as marked.

The package's own detector rounds at 0.5. There 6 of 400 real recordings counted as marked, the highest with 0.89, while
speech that was marked had 0.998 or more (``fedvoice bench watermark``; docs/benchmarks/README.md).
"""
PACKAGE = "resemble-perth==1.0.1"
_WEIGHTS = "perth_net/pretrained/implicit/perth_net_250000.pth.tar"
_SHA256 = "a15bce457ebc53ce5e6c9c3f11df78cf7ee2bf9cdab0a798902135b4c4027670"
_SPEEDS = {"slow_layers": 1.25, "normal_layers": 1.0, "fast_layers": 0.75}
"""The detector's branches, each of which hears the recording stretched by so much."""


class Encoder(nn.Module):
    """What to add to levels so that they carry the mark."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = _layers(BINS)

    def forward(self, levels: Tensor) -> Tensor:
        """Residual ``(B, BINS, frames)`` of levels of the same shape."""
        residual: Tensor = self.layers(levels)
        return residual


class Detector(nn.Module):
    """How sure it is that levels carry the mark."""

    def __init__(self) -> None:
        super().__init__()
        for name in _SPEEDS:
            self.add_module(name, _layers(2))

    def forward(self, levels: Tensor, heard: Tensor) -> Tensor:
        """Scores ``(B,)``, about 0 or 1, of levels ``(B, BINS, frames)``, of which ``heard (B, frames)`` is 1 where
        the recording is loud enough.
        """
        frames = levels.shape[-1]
        votes = []
        for name, speed in _SPEEDS.items():
            stretched = functional.interpolate(
                levels, size=max(1, int(frames * speed)), mode="linear", align_corners=True
            )
            mask = functional.interpolate(heard[:, None], size=stretched.shape[-1])
            # Two rows: how much the branch is believed, and what it says.
            votes.append((getattr(self, name)(stretched) * mask).sum(dim=2) / mask.sum(dim=2))
        believed, said = torch.stack(votes).unbind(dim=2)
        return (believed.softmax(dim=0) * said).sum(dim=0)


class Watermark:
    """Marks speech and finds the mark; :func:`load_watermark` gives the one with the package's weights."""

    def __init__(self, encoder: Encoder, detector: Detector) -> None:
        self.encoder, self.detector = encoder.eval(), detector.eval()

    def mark(self, wave: Wave, rate: int) -> Wave:
        """``wave (samples,)`` at ``rate`` Hz with the mark in it; see :func:`spectrum.mark`."""
        return mark(wave, rate, self._residual)

    @torch.no_grad()
    def score(self, wave: Wave, rate: int) -> float:
        """From 0, no mark, to 1, marked, of ``wave (samples,)`` at ``rate`` Hz, at least one sample; 0 for silence."""
        found = levels_of(wave, rate)
        if not found.heard.any():
            return 0.0
        score = self.detector(torch.from_numpy(found.levels)[None], torch.from_numpy(found.heard)[None])
        return float(score.clamp(0.0, 1.0))

    @torch.no_grad()
    def _residual(self, levels: Array) -> Array:
        residual: Array = self.encoder(torch.from_numpy(levels)[None])[0].numpy()
        return residual


@lru_cache(maxsize=1)
def load_watermark() -> Watermark:
    """The package's watermark. Raises :class:`WatermarkError` where its weights are missing or others."""
    state = _read_weights()
    encoder, detector = Encoder(), Detector()
    for name, network in (("encoder.", encoder), ("decoder.", detector)):
        own = {
            key.removeprefix(name).replace(".conv.", ".0."): v
            for key, v in state.items()
            if key.startswith(name)
        }
        network.load_state_dict(own)
    return Watermark(encoder, detector)


def _read_weights() -> dict[str, Tensor]:
    package = find_spec("perth")
    path = Path(package.origin).parent / _WEIGHTS if package is not None and package.origin else None
    if path is None or not path.is_file():
        raise WatermarkError(
            f"speech is never made without its mark, whose weights are not installed: pip install {PACKAGE}"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise WatermarkError(
            f"the weights of the speech mark in {path} are not those of {PACKAGE}: install it again"
        )
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state: dict[str, Tensor] = checkpoint["model"]
    return state


def _layers(outputs: int) -> nn.Sequential:
    hidden = (_layer(HIDDEN, HIDDEN, 7) for _ in range(5))
    return nn.Sequential(_layer(BINS, HIDDEN, 1), *hidden, nn.Sequential(nn.Conv1d(HIDDEN, outputs, 1)))


def _layer(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.LeakyReLU())
