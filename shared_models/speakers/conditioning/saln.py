"""Style-adaptive layer norms (StyleSpeech, arXiv 2106.03153, section 3.2): a voice in all norms of encoder and decoder.

Nothing is added anywhere: duration and pitch hear the voice in what the encoder says. One linear layer a norm gives
gain and bias together. Here its weights begin at 0, its gain at 1 and its bias at 0; the paper's weights are random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shared_models.errors import RecipeError
from shared_models.layers.conditional_layer_norm import SiteNorm
from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.conditioning import Place
from shared_models.speakers.conditioning.cln import norms_at
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.voice import Voice, VoiceTensor

PLACES: tuple[Place, ...] = ("encoder", "decoder")
"""Where, unless ``speaker.norms`` says otherwise: StyleSpeech's."""


class StyleAdaptiveNorms:
    """StyleSpeech's conditioning, at all norms of its places."""

    def __init__(self, sizes: Sizes, tokens: int, settings: SpeakerConfig) -> None:  # noqa: ARG002
        self.sizes = sizes
        self.counts = {place: norms_at(place, sizes) for place in settings.norms or PLACES}

    def takes(self) -> tuple[VoiceTensor, ...]:
        """``saln_PLACE_gain`` and ``saln_PLACE_bias (norms, H)`` of each place."""
        return tuple(
            VoiceTensor(name, (count, self.sizes.hidden), made_by="maps")
            for place, count in self.counts.items()
            for name in _names(place)
        )

    def maps(self) -> nn.Module:
        """The maps of all norms."""
        return SALNMaps(self.sizes.embedding, self.sizes.hidden, self.counts)

    def encoder_site(self) -> nn.Module:
        """Leaves the encoder's output as it is."""
        return Untouched()

    def norm(self, place: Place, number: int) -> nn.Module:
        """The voice's, or at other places a plain one."""
        if place not in self.counts:
            return nn.LayerNorm(self.sizes.hidden)
        return SiteNorm(self.sizes.hidden, *_names(place), number)


class SALNMaps(nn.Module):
    """The maps of all places: style ``(B, E)`` to gains and biases ``(B, norms, H)`` each."""

    belongs_to = Owner.SHARED

    def __init__(self, embedding: int, hidden: int, counts: Mapping[Place, int]) -> None:
        super().__init__()
        self.hidden, self.counts = hidden, counts
        for place, count in counts.items():
            self.add_module(place, nn.Linear(embedding, count * 2 * hidden))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Begin with gain 1 and bias 0 whatever the style: plain layer norms."""
        for place, count in self.counts.items():
            self.get_parameter(f"{place}.weight").zero_()
            bias = self.get_parameter(f"{place}.bias").view(count, 2, self.hidden)
            bias[:, 0], bias[:, 1] = 1.0, 0.0

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        """Always raises :class:`RecipeError`: norms of the encoder would have to leave too."""
        raise RecipeError(
            "a model with speaker.conditioning 'saln' cannot be cut to fewer blocks: distil a smaller one, or export "
            "it whole"
        )

    def forward(self, embedding: Tensor, tokens: Tensor | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        """``(B, E)`` to the tensors of all places by name."""
        made: dict[str, Tensor] = {}
        for place, count in self.counts.items():
            both = self.get_submodule(place)(embedding).view(-1, count, 2, self.hidden)
            made |= dict(zip(_names(place), both.unbind(2), strict=True))
        return made


class Untouched(nn.Module):
    """``x`` itself, whoever speaks."""

    belongs_to = Owner.SHARED

    def forward(self, x: Tensor, voice: Voice) -> Tensor:  # noqa: ARG002
        """``(B, L, H)``."""
        return x


def _names(place: Place) -> tuple[str, str]:
    return f"saln_{place}_gain", f"saln_{place}_bias"
