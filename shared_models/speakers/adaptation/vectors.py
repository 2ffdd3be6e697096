"""A voice is vectors: its own offsets of what the maps make, and its prosody, trained directly."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.voice import VoiceTensor


class Vectors:
    """AdaSpeech's serving form (arXiv 2103.00993), trained as it is: a few thousand numbers to noise."""

    def __init__(self, settings: SpeakerConfig) -> None:
        """It has no settings."""

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:  # noqa: ARG002
        """Nothing."""
        return ()

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """All but what the sources make."""
        return [declared for declared in takes if declared.made_by != "sources"]

    def install(self, model: AdaptableModel) -> None:
        """The maps stay everybody's."""
