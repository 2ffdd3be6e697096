"""A voice has maps of its own: what they make of the embedding is added to what everybody's maps make of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.voice import VoiceTensor


class PersonalMaps:
    """What AdaSpeech (arXiv 2103.00993) fine-tunes: the maps, from where pretraining left them, and here the prosody.

    Of linear maps the sum is one linear map, so that a voice's own maps are the change of everybody's. A base is the
    same with these and with vectors.
    """

    def __init__(self, settings: SpeakerConfig) -> None:
        """It has no settings."""

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:  # noqa: ARG002
        """Nothing."""
        return ()

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What nothing but a voice's own numbers makes."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Put maps like the model's beside them."""
        model.own_maps = OwnMaps(model.maps)


class OwnMaps(nn.Module):
    """Maps of the shape of ``like``, all of whose numbers are 0 at first, so that they make 0."""

    belongs_to = Owner.PERSONAL

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self.maps = deepcopy(like)
        self.maps.belongs_to = Owner.PERSONAL  # type: ignore[assignment]
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Change nothing of what everybody's maps make."""
        for parameter in self.parameters():
            parameter.zero_()

    def forward(self, embedding: Tensor, tokens: Tensor | None) -> dict[str, Tensor]:
        """``(B, E)`` to tensors by name: the maps of the embedding over E.

        Adam moves every number by the learning rate. So divided, the E numbers that act on one of a tensor's move it
        together as far as its own offset does, and noise on all of them adds up to no more.
        """
        scaled = None if tokens is None else tokens / tokens.shape[-1]
        made: dict[str, Tensor] = self.maps(embedding / embedding.shape[-1], scaled)
        return made
