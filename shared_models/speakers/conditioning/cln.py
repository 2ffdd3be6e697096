"""Conditional layer normalisation (AdaSpeech, arXiv 2103.00993): a voice as scales and shifts of the decoder's norms,
and where ``speaker.norms`` says so of others: the variance predictors' (ProsodySpeech), the encoder's.

The embedding is added to the encoder's output. The maps from it to scales and shifts are one linear layer each,
weights 0, the scale's bias 1 and the shift's bias 0, so that an untrained model is one with plain layer norms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.errors import RecipeError
from shared_models.layers.conditional_layer_norm import SiteNorm
from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.conditioning import Place
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.voice import Voice, VoiceTensor

PLACES: tuple[Place, ...] = ("decoder",)
"""Where, unless ``speaker.norms`` says otherwise: AdaSpeech's."""


def norms_at(place: Place, sizes: Sizes) -> int:
    """How many norms there are at ``place``."""
    match place:
        case "encoder":
            return 2 * sizes.encoder_layers
        case "variance":
            return 6
        case "decoder":
            return 2 * sizes.decoder_layers + 1


def _names(place: str) -> tuple[str, str]:
    """Those of the decoder are the names of the first version."""
    return ("cln_scale", "cln_shift") if place == "decoder" else (f"cln_{place}_scale", f"cln_{place}_shift")


class ConditionalNorms:
    """AdaSpeech's conditioning, at the decoder's last S norms and at all norms of other places that are named."""

    def __init__(self, sizes: Sizes, tokens: int, settings: SpeakerConfig) -> None:  # noqa: ARG002 (no use for tokens)
        self.sizes = sizes
        places = settings.norms or PLACES
        self.sites = sizes.sites if "decoder" in places else 0
        self.others: dict[Place, int] = {
            place: norms_at(place, sizes) for place in places if place != "decoder"
        }

    def takes(self) -> tuple[VoiceTensor, ...]:
        """``embedding (E,)``, ``cln_scale`` and ``cln_shift (S, H)``, and the same of other places."""
        sites = {"decoder": self.sites} if self.sites else {}
        made = [
            VoiceTensor(name, (count, self.sizes.hidden), made_by="maps", by_site=place == "decoder")
            for place, count in (sites | self.others).items()
            for name in _names(place)
        ]
        return (VoiceTensor("embedding", (self.sizes.embedding,), made_by="sources"), *made)

    def maps(self) -> nn.Module:
        """The maps of all sites."""
        return CLNMaps(self.sizes.embedding, self.sizes.hidden, self.sites, self.others)

    def encoder_site(self) -> nn.Module:
        """Adds the embedding, as a vector of width H."""
        return AddedEmbedding(self.sizes.embedding, self.sizes.hidden)

    def norm(self, place: Place, number: int) -> nn.Module:
        """One that takes its scale and its shift, or where the voice has none a plain one."""
        site, count = number, self.others.get(place, 0)
        if place == "decoder":
            site, count = number - (norms_at(place, self.sizes) - self.sites), self.sites
        if not 0 <= site < count:
            return nn.LayerNorm(self.sizes.hidden)
        return SiteNorm(self.sizes.hidden, *_names(place), site)


class CLNMaps(nn.Module):
    """The maps of all S sites: speaker embedding ``(B, E)`` to scales and shifts ``(B, S, H)`` each.

    ``others`` are places with maps of their own beside them, and how many norms each has.
    """

    belongs_to = Owner.SHARED

    def __init__(
        self, embedding: int, hidden: int, sites: int, others: Mapping[Place, int] | None = None
    ) -> None:
        super().__init__()
        self.hidden, self.sites, self.others = hidden, sites, tuple(others or ())
        if sites:
            self.scale = nn.Linear(embedding, sites * hidden)
            self.shift = nn.Linear(embedding, sites * hidden)
        for place, count in (others or {}).items():
            self.add_module(place, CLNMaps(embedding, hidden, count))
        self.reset()

    def reset(self) -> None:
        """Begin with scale 1 and shift 0 whatever the embedding: a plain layer norm."""
        if self.sites:
            for tensor in (self.scale.weight, self.shift.weight, self.shift.bias):
                nn.init.zeros_(tensor)
            nn.init.ones_(self.scale.bias)
        for place in self.others:
            self._of(place).reset()

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:
        """The rows of those sites, and the others' whole. Raises :class:`RecipeError` for maps of encoder norms."""
        if "encoder" in self.others:
            raise RecipeError(
                "a model with 'encoder' in speaker.norms cannot be cut to fewer blocks: distil a smaller one, or "
                "export it whole"
            )
        kept = list(sites)
        return {
            name: tensor.view(self.sites, self.hidden, *tensor.shape[1:])[kept].flatten(0, 1)
            if name.split(".")[0] in ("scale", "shift")
            else tensor
            for name, tensor in self.state_dict().items()
        }

    def forward(self, embedding: Tensor, tokens: Tensor | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        """``(B, E)`` to ``cln_scale`` and ``cln_shift``, ``(B, S, H)`` each, and those of the others."""
        made = dict(zip(_names("decoder"), self._both(embedding), strict=True)) if self.sites else {}
        for place in self.others:
            made |= dict(zip(_names(place), self._of(place)._both(embedding), strict=True))
        return made

    def _both(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, self.sites, self.hidden)
        return self.scale(embedding).view(shape), self.shift(embedding).view(shape)

    def _of(self, place: str) -> CLNMaps:
        return cast(CLNMaps, self.get_submodule(place))


class AddedEmbedding(nn.Module):
    """``x (B, L, H)`` plus the embedding ``(B, E)`` by one linear map without bias."""

    belongs_to = Owner.SHARED

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden, embedding))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Linear begins

    def forward(self, x: Tensor, voice: Voice) -> Tensor:
        """``(B, L, H)`` to ``(B, L, H)``."""
        return x + F.linear(voice["embedding"], self.weight)[:, None]
