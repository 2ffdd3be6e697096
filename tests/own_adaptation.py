"""An adaptation of a test's own: a small bottleneck behind the encoder, and personal maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.voice import Voice, VoiceTensor

RANK = 2


class Bottleneck:
    """Houlsby's adapter (arXiv 1902.00751), whose weights are two tensors of the voice."""

    def __init__(self, settings: SpeakerConfig) -> None:
        """It has no settings."""

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """The way down begins at the first channels, the way up at 0."""
        hidden = acoustic.mel.in_features
        return (
            VoiceTensor("down", (hidden, RANK), made_by="voice", start=lambda: torch.eye(hidden, RANK)),
            VoiceTensor("up", (RANK, hidden), made_by="voice"),
        )

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """Only what is a voice's own: prosody, and the adapter."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Behind whatever the conditioning does to the encoder's output; and the maps are the voice's too."""
        model.acoustic.speaker = Adapted(model.acoustic.speaker)  # type: ignore[arg-type]
        model.maps.belongs_to = Owner.PERSONAL  # type: ignore[assignment]


class Adapted(nn.Module):
    """What a module gives, and what the voice's bottleneck adds to it. The dropout must not reach DP-SGD."""

    belongs_to = Owner.SHARED

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, voice: Voice) -> Tensor:
        """``x (B, L, H)`` to ``(B, L, H)``."""
        y: Tensor = self.inner(x, voice)
        return y + self.dropout(torch.relu(y @ voice["down"]) @ voice["up"])
