"""Low-rank changes of the model's matrices (LoRA, Hu 2021, arXiv 2106.09685, section 4.1), two factors a layer.

``y = W x + (alpha / r) B A x``. A begins as a linear layer does, the same for every voice, and B at 0. A convolution's
A reads the whole kernel and its B is one step wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from shared_models.layers.voiced import Tensors, change
from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation import Site
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.adaptation.changes import (
    as_output,
    columns_of,
    fan_in,
    layers_at,
    name_of,
    uniform_start,
)
from shared_models.speakers.voice import VoiceTensor

SITES: tuple[Site, ...] = ("decoder.attention", "decoder.feed_forward", "mel")
"""Where, unless ``speaker.layers`` says otherwise."""


class LowRank:
    """Factors for each layer, and the prosody."""

    prefix = "lora"

    def __init__(self, settings: SpeakerConfig) -> None:
        self.rank, self.alpha = settings.rank, settings.alpha
        self.sites = settings.layers or SITES

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """``down (r, fan_in)`` and ``up (out, r)`` of each layer."""
        found: list[VoiceTensor] = []
        for path, layer in self._layers(acoustic).items():
            down, up = (name_of(self.prefix, path, part) for part in ("down", "up"))
            inputs, outputs = fan_in(layer), len(layer.get_parameter("weight"))
            start = partial(uniform_start, down, self.rank, inputs)
            found.append(VoiceTensor(down, (self.rank, inputs), made_by="voice", start=start))
            found.append(VoiceTensor(up, (outputs, self.rank), made_by="voice"))
        return found

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What nothing but a voice's own numbers makes."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Add the product of the factors to what each layer gives."""
        for path, layer in self._layers(model.acoustic).items():
            down, up = (name_of(self.prefix, path, part) for part in ("down", "up"))
            change(layer, LowRankChange(down, up, self.alpha / self.rank))

    def _layers(self, acoustic: nn.Module) -> dict[str, nn.Module]:
        return layers_at(acoustic, self.sites, (nn.Linear, nn.Conv1d))


@dataclass(frozen=True, slots=True)
class LowRankChange:
    """Adds ``scale * up @ down`` to a layer's matrix."""

    down: str
    up: str
    scale: float

    def __call__(self, layer: nn.Module, x: Tensor, y: Tensor, voice: Tensors) -> Tensor:
        """``y`` and the low-rank part."""
        down = voice[self.down]
        narrow = (down / down.shape[2]) @ columns_of(layer, x)
        return y + self.scale * as_output(layer, voice[self.up] @ narrow)
