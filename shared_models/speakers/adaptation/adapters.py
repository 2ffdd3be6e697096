"""Residual bottleneck adapters behind sublayers (Houlsby 2019, arXiv 1902.00751; for voices Morioka 2022, 2210.15868).

``y + up(relu(down(norm(y))))`` with a norm without parameters, ``down`` from H to the bottleneck and ``up`` back, which
begins at 0. One stands behind each attention and feed-forward, before the residual, and behind each norm of the
variance predictors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.voiced import Tensors, change
from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation import Site
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.adaptation.changes import layers_at, name_of, uniform_start
from shared_models.speakers.voice import VoiceTensor

SITES: tuple[Site, ...] = ("variance", "decoder.attention", "decoder.feed_forward")
"""Where, unless ``speaker.layers`` says otherwise: Morioka's."""
_BEHIND = re.compile(r".*\.(attention\.output|feed_forward\.contract|norms\.\d+)")
_PARTS = ("down", "down_bias", "up", "up_bias")


class Adapters:
    """A bottleneck for each sublayer, and the prosody."""

    def __init__(self, settings: SpeakerConfig) -> None:
        self.width = settings.bottleneck
        self.sites = settings.layers or SITES

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """``down (b, H)``, ``up (H, b)``, and a bias of each."""
        found = []
        for path, layer in self._layers(acoustic).items():
            hidden, names = _width(layer), _names(path)
            start = partial(uniform_start, names[0], self.width, hidden)
            found += [
                VoiceTensor(names[0], (self.width, hidden), made_by="voice", start=start),
                VoiceTensor(names[1], (self.width,), made_by="voice"),
                VoiceTensor(names[2], (hidden, self.width), made_by="voice"),
                VoiceTensor(names[3], (hidden,), made_by="voice"),
            ]
        return found

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What nothing but a voice's own numbers makes."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Put each behind its sublayer."""
        for path, layer in self._layers(model.acoustic).items():
            change(layer, Bottleneck(*_names(path)))

    def _layers(self, acoustic: nn.Module) -> dict[str, nn.Module]:
        found = layers_at(acoustic, self.sites, (nn.Linear, nn.Conv1d, nn.LayerNorm))
        return {path: layer for path, layer in found.items() if _BEHIND.fullmatch(path)}


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Adds what a bottleneck makes of a layer's output."""

    down: str
    down_bias: str
    up: str
    up_bias: str

    def __call__(self, layer: nn.Module, x: Tensor, y: Tensor, voice: Tensors) -> Tensor:  # noqa: ARG002
        """``y`` and the bottleneck's."""
        steps = y.transpose(1, 2) if isinstance(layer, nn.Conv1d) else y
        down, up = voice[self.down], voice[self.up]
        inner = F.layer_norm(steps, steps.shape[-1:]) @ (down / down.shape[2]).transpose(1, 2)
        inner = F.relu(inner + voice[self.down_bias][:, None])
        added = inner @ (up / up.shape[2]).transpose(1, 2) + voice[self.up_bias][:, None]
        return y + (added.transpose(1, 2) if isinstance(layer, nn.Conv1d) else added)


def _names(path: str) -> tuple[str, str, str, str]:
    down, down_bias, up, up_bias = (name_of("adapters", path, part) for part in _PARTS)
    return down, down_bias, up, up_bias


def _width(layer: nn.Module) -> int:
    return (
        int(layer.normalized_shape[-1])
        if isinstance(layer, nn.LayerNorm)
        else len(layer.get_parameter("weight"))
    )
