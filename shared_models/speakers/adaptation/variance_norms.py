"""A voice scales and shifts the norms of the variance predictors: its durations, pitch and energy.

ProsodySpeech's place for a voice (An 2022, ICASSP), as vectors that are trained directly, on any base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.errors import RecipeError
from shared_models.layers.voiced import Tensors, change
from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.adaptation.changes import layers_at, name_of
from shared_models.speakers.voice import VoiceTensor


class VarianceNorms:
    """A change of scale and one of shift for each norm, and the prosody."""

    def __init__(self, settings: SpeakerConfig) -> None:
        """It has no settings."""

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """``scale (H,)`` and ``shift (H,)`` of each norm."""
        return [
            VoiceTensor(
                name_of("norms", path, part), tuple(norm.get_parameter("weight").shape), made_by="voice"
            )
            for path, norm in _norms(acoustic).items()
            for part in ("scale", "shift")
        ]

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What nothing but a voice's own numbers makes."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Change each norm."""
        for path, norm in _norms(model.acoustic).items():
            change(norm, Restyled(*(name_of("norms", path, part) for part in ("scale", "shift"))))


@dataclass(frozen=True, slots=True)
class Restyled:
    """Adds to a norm's scale and shift."""

    scale: str
    shift: str

    def __call__(self, layer: nn.Module, x: Tensor, y: Tensor, voice: Tensors) -> Tensor:
        """``y`` with both."""
        assert isinstance(layer, nn.LayerNorm)
        normalised = F.layer_norm(x, layer.normalized_shape, eps=layer.eps)
        return y + normalised * voice[self.scale][:, None] + voice[self.shift][:, None]


def _norms(acoustic: nn.Module) -> dict[str, nn.Module]:
    try:
        return layers_at(acoustic, ("variance",), (nn.LayerNorm,))
    except RecipeError:
        raise RecipeError(
            "speaker.personal has 'variance_norms', and the conditioning of this recipe has taken the variance "
            "predictors' norms: 'vectors' trains their scales and shifts"
        ) from None
