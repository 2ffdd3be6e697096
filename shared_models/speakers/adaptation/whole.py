"""Every layer of the acoustic model is the voice's (Arik 2018, arXiv 1802.06006, section 3.1), or those at some sites.

A voice keeps its change of each weight and bias, so that a base is the same with voices of this kind and of others.
What makes a voice of what is heard (maps, sources) stays everybody's: the voice's own embedding moves its effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.voiced import Tensors, can_change, change
from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation import Site
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.adaptation.changes import as_output, columns_of, fan_in, layers_at, name_of
from shared_models.speakers.voice import VoiceTensor

_KINDS = (nn.Linear, nn.Conv1d, nn.LayerNorm, nn.Embedding)


class WholeModel:
    """A change of each parameter of the layers, and the prosody."""

    def __init__(self, settings: SpeakerConfig) -> None:
        self.sites = settings.layers

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """One tensor of the shape of each parameter."""
        return [
            VoiceTensor(
                name_of("whole", path, name), tuple(parameter.shape), made_by="voice", unit=_unit(layer, name)
            )
            for path, layer in layers_of_whole(acoustic, self.sites).items()
            for name, parameter in layer.named_parameters()
        ]

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What nothing but a voice's own numbers makes."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Add to what each layer gives what it would give with the change for its weights."""
        for path, layer in layers_of_whole(model.acoustic, self.sites).items():
            bias = name_of("whole", path, "bias") if getattr(layer, "bias", None) is not None else None
            change(layer, WeightChange(name_of("whole", path, "weight"), bias))


def layers_of_whole(acoustic: nn.Module, sites: Sequence[Site] | None) -> dict[str, nn.Module]:
    """The layers that a voice changes whole, by their path in the acoustic model: at ``sites``, or all that it can.

    Raises :class:`RecipeError` for sites that the model has not.
    """
    if sites is not None:
        return layers_at(acoustic, sites, _KINDS)
    return {
        path: layer
        for path, layer in acoustic.named_modules()
        if can_change(layer) and any(True for _ in layer.parameters())
    }


def _unit(layer: nn.Module, name: str) -> float:
    matrix = name == "weight" and isinstance(layer, (nn.Linear, nn.Conv1d))
    return fan_in(layer) if matrix else 1.0


@dataclass(frozen=True, slots=True)
class WeightChange:
    """Adds a layer of the voice's own weights. Every layer of ours is linear in its weights."""

    weight: str
    bias: str | None

    def __call__(self, layer: nn.Module, x: Tensor, y: Tensor, voice: Tensors) -> Tensor:
        """``y`` and that layer's."""
        weight = voice[self.weight]
        match layer:
            case nn.Embedding():
                return y + weight.gather(1, x[..., None].expand(-1, -1, weight.shape[2]))
            case nn.LayerNorm():
                added = F.layer_norm(x, layer.normalized_shape, eps=layer.eps) * weight[:, None]
            case _:
                matrix = weight.flatten(2) / fan_in(layer)
                added = as_output(layer, matrix @ columns_of(layer, x))
        if self.bias is not None:
            bias = voice[self.bias]
            added = added + (bias[..., None] if isinstance(layer, nn.Conv1d) else bias[:, None])
        return y + added
