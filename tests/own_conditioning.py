"""A conditioning of a test's own: attention over tokens behind the encoder, and shifts of the decoder's norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared_models.layers.voiced import Voiced
from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.conditioning import Place
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.voice import Voice, VoiceTensor


class Attending:
    """Takes the embedding, the sources' tokens, and one shift a site."""

    def __init__(self, sizes: Sizes, tokens: int, settings: SpeakerConfig) -> None:  # noqa: ARG002
        self.sizes, self.tokens = sizes, tokens

    def takes(self) -> tuple[VoiceTensor, ...]:
        """As the modules below read them."""
        return (
            VoiceTensor("embedding", (self.sizes.embedding,), made_by="sources"),
            VoiceTensor("tokens", (self.tokens, self.sizes.embedding), made_by="sources"),
            VoiceTensor("lift", (self.sizes.sites, self.sizes.hidden), made_by="maps", by_site=True),
        )

    def maps(self) -> nn.Module:
        """Not affine."""
        return Lifts(self.sizes)

    def encoder_site(self) -> nn.Module:
        """Attention."""
        return Attention(self.sizes)

    def norm(self, place: Place, number: int) -> nn.Module:
        """In the decoder, a norm with a shift of the voice's."""
        site = number - (2 * self.sizes.decoder_layers + 1 - self.sizes.sites)
        plain = place != "decoder" or site < 0
        return nn.LayerNorm(self.sizes.hidden) if plain else LiftedNorm(self.sizes.hidden, site)


class Lifts(nn.Module):
    """The embedding to a shift for each site, by a square."""

    belongs_to = Owner.SHARED

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sites, self.hidden = sizes.sites, sizes.hidden
        self.lift = nn.Linear(sizes.embedding, sizes.sites * sizes.hidden)
        self.reset()

    def reset(self) -> None:
        """No shift."""
        nn.init.zeros_(self.lift.weight)
        nn.init.zeros_(self.lift.bias)

    def forward(self, embedding: Tensor, tokens: Tensor | None) -> dict[str, Tensor]:
        """``lift (B, S, H)``."""
        assert tokens is not None
        return {"lift": self.lift(embedding.square() + tokens.mean(1)).view(-1, self.sites, self.hidden)}

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:
        """The rows of those sites."""
        parts = self.state_dict().items()
        return {n: t.view(self.sites, self.hidden, *t.shape[1:])[list(sites)].flatten(0, 1) for n, t in parts}


class Attention(nn.Module):
    """Each phoneme looks for what it wants among the tokens."""

    belongs_to = Owner.SHARED

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.query = nn.Linear(sizes.hidden, sizes.embedding)
        self.value = nn.Linear(sizes.embedding, sizes.hidden)

    def forward(self, x: Tensor, voice: Voice) -> Tensor:
        """``x (B, L, H)`` to ``(B, L, H)``."""
        weights = torch.softmax(self.query(x) @ voice["tokens"].transpose(1, 2), dim=-1)
        attended: Tensor = self.value(weights @ voice["tokens"] + voice["embedding"][:, None])
        return x + attended


class LiftedNorm(Voiced, nn.Module):
    """A layer norm, and then the site's shift."""

    belongs_to = Owner.SHARED

    def __init__(self, hidden: int, site: int) -> None:
        super().__init__()
        self.norm, self.site = nn.LayerNorm(hidden), site

    def forward(self, x: Tensor, voice: Voice) -> Tensor:
        """``x (B, N, H)`` to ``(B, N, H)``."""
        normalised: Tensor = self.norm(x) + voice["lift"][:, self.site, None]
        return normalised
