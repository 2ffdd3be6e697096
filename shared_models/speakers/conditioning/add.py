"""The embedding is added to the encoder's output, which all that follows hears (FastSpeech 2, Meta-TTS)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.conditioning import Place
from shared_models.speakers.conditioning.cln import AddedEmbedding
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.voice import VoiceTensor


class Added:
    """A voice is its embedding; all norms are everybody's."""

    def __init__(self, sizes: Sizes, tokens: int, settings: SpeakerConfig) -> None:  # noqa: ARG002
        self.sizes = sizes

    def takes(self) -> tuple[VoiceTensor, ...]:
        """``embedding (E,)``."""
        return (VoiceTensor("embedding", (self.sizes.embedding,), made_by="sources"),)

    def maps(self) -> nn.Module:
        """None."""
        return NoMaps()

    def encoder_site(self) -> nn.Module:
        """Adds the embedding, as a vector of width H."""
        return AddedEmbedding(self.sizes.embedding, self.sizes.hidden)

    def norm(self, place: Place, number: int) -> nn.Module:  # noqa: ARG002
        """A plain one."""
        return nn.LayerNorm(self.sizes.hidden)


class NoMaps(nn.Module):
    """Maps of a conditioning that has none."""

    belongs_to = Owner.SHARED

    def reset(self) -> None:
        """There is nothing to begin with."""

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        """Nothing."""
        return {}

    def forward(self, embedding: Tensor, tokens: Tensor | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        """Nothing."""
        return {}
