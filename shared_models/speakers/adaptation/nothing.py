"""A voice trains nothing: it is what the sources hear (zero-shot cloning)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.voice import VoiceTensor


class Nothing:
    """No number is a voice's own, but for what a source keeps, as the speaker table does."""

    def __init__(self, settings: SpeakerConfig) -> None:
        """It has no settings."""

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:  # noqa: ARG002
        """Nothing."""
        return ()

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:  # noqa: ARG002
        """Nothing."""
        return ()

    def install(self, model: AdaptableModel) -> None:
        """The model stays as it is."""
