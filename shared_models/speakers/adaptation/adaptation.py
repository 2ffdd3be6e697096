"""What an adaptation is: a choice of what a voice trains, beside what its sources keep of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from shared_models.speakers.voice import VoiceTensor


class AdaptableModel(Protocol):
    """What an adaptation may reach of a model: its acoustic model and its maps."""

    @property
    def acoustic(self) -> nn.Module:
        """The acoustic model."""

    @property
    def maps(self) -> nn.Module:
        """The conditioning's maps."""


class Adaptation(Protocol):
    """One kind, made without arguments.

    What is to be a voice's own is declared ``Owner.PERSONAL`` and says by ``reset()`` how it begins. For DP-SGD its
    layers must be those that Opacus knows, with the batch first.
    """

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """Of the tensors that a model takes, those that each voice has offsets of: tables that start at 0."""

    def install(self, model: AdaptableModel) -> None:
        """Make parts of the finished ``model`` personal, or put personal parts into it."""
