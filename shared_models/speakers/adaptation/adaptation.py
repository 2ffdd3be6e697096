"""What an adaptation is: a choice of what a voice trains, beside what its sources keep of it.

What a voice trains is to be in its profile and in an exported graph's inputs. So it is tensors of the voice, kept in
tables of which each voice has a row, or it is what such tensors are made by, as the maps are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from shared_models.model_config import SpeakerConfig
from shared_models.speakers.voice import VoiceTensor


class AdaptableModel(Protocol):
    """What an adaptation may reach of a model: its acoustic model, its maps, and a place for a voice's own."""

    own_maps: nn.Module | None
    """Maps whose output is added to that of the model's, if there are any."""

    @property
    def acoustic(self) -> nn.Module:
        """The acoustic model."""

    @property
    def maps(self) -> nn.Module:
        """The conditioning's maps."""


class Adaptation(Protocol):
    """One kind, made of the recipe's section on speakers.

    A module that it makes a voice's own is declared ``Owner.PERSONAL`` and says by ``reset()`` how it begins. For
    DP-SGD its layers must be those that Opacus knows, with the batch first.
    """

    def __init__(self, settings: SpeakerConfig) -> None: ...

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """Tensors that voices have on top of what the conditioning takes: the weights of an adapter, for instance.

        ``acoustic`` is the finished acoustic model, which no adaptation has changed yet.
        """

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """Of the tensors that a model takes, those of which each voice keeps its own: what is added to what is made."""

    def install(self, model: AdaptableModel) -> None:
        """Make parts of the finished ``model`` personal, or have its modules read the tensors that it adds."""
