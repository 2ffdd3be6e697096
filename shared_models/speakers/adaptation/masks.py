"""A voice selects among everybody's weights (FedSpeech, Jiang 2021, arXiv 2110.07216: selective masks).

A score a weight, and weights whose score is not above 0 are left out. The step's gradient passes straight through to
the score (Bengio 2013, arXiv 1308.3432, as Piggyback does for masks, arXiv 1801.06519). All weights are in at first.
FedSpeech's gradual pruning, by which one speaker after another is given weights of the model, is not here: devices
share all weights and train them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from shared_models.layers.voiced import Tensors, change
from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation import Site
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.adaptation.changes import as_output, columns_of, layers_at, name_of
from shared_models.speakers.voice import VoiceTensor

SITES: tuple[Site, ...] = ("decoder.attention", "decoder.feed_forward")
"""Where, unless ``speaker.layers`` says otherwise."""
FIRST_SCORE = 0.2
"""Ten steps of Adam at cloning's 0.02 that all point down leave a weight out."""


class SelectiveMasks:
    """Scores of the layers' weights, and the prosody."""

    def __init__(self, settings: SpeakerConfig) -> None:
        self.sites = settings.layers or SITES

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """Scores ``(out, fan_in)`` of each layer."""
        found = []
        for path, layer in self._layers(acoustic).items():
            shape = tuple(layer.get_parameter("weight").flatten(1).shape)
            start = partial(_first_scores, shape)
            found.append(VoiceTensor(name_of("masks", path, "scores"), shape, made_by="voice", start=start))
        return found

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What nothing but a voice's own numbers makes."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Have each layer leave out what its voice leaves out."""
        for path, layer in self._layers(model.acoustic).items():
            change(layer, Selection(name_of("masks", path, "scores")))

    def _layers(self, acoustic: nn.Module) -> dict[str, nn.Module]:
        return layers_at(acoustic, self.sites, (nn.Linear, nn.Conv1d))


@dataclass(frozen=True, slots=True)
class Selection:
    """Takes away what a layer's left-out weights gave."""

    scores: str

    def __call__(self, layer: nn.Module, x: Tensor, y: Tensor, voice: Tensors) -> Tensor:
        """``y`` without them."""
        scores = voice[self.scores]
        hard = (scores > 0).to(scores.dtype)
        left_out = hard - 1 + (scores - scores.detach())
        matrix = layer.get_parameter("weight").flatten(1) * left_out
        return y + as_output(layer, matrix @ columns_of(layer, x))


@lru_cache(maxsize=64)
def _first_scores(shape: tuple[int, ...]) -> Tensor:
    return torch.full(shape, FIRST_SCORE)
