"""A voice is its speaker embedding alone, and all else is everybody's (Arik 2018, arXiv 1802.06006, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.voice import VoiceTensor


class EmbeddingOnly:
    """E numbers: the embedding itself, or where sources hear one, an offset that is added to it."""

    def __init__(self, settings: SpeakerConfig) -> None:
        """It has no settings."""

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:  # noqa: ARG002
        """Nothing."""
        return ()

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """The embedding."""
        return [declared for declared in takes if declared.name == "embedding"]

    def install(self, model: AdaptableModel) -> None:
        """The model stays as it is."""
