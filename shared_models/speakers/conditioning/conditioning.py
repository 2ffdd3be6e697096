"""What a conditioning is: the modules by which a voice acts on an acoustic model.

The modules sit where they act, so that each belongs to whom its surroundings belong. The acoustic model asks for one
behind its encoder, which all that follows hears (variance predictors and decoder), and for each of its norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from shared_models.model_config import SpeakerConfig
from shared_models.speakers.conditioning import Place
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.voice import VoiceTensor


class Maps(Protocol):
    """A module that makes what a voice needs at the sites from its embedding.

    It has ``reset()``, which puts it back to its start: an adaptation may make it a voice's own.
    """

    def __call__(self, embedding: Tensor, tokens: Tensor | None) -> dict[str, Tensor]:
        """``embedding (B, E)`` and ``tokens (B, N, E)``, if the sources give any; to the declared tensors by name."""

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:
        """The state of such maps for a decoder that has the conditional norms ``sites`` alone, in that order."""


class Conditioning(Protocol):
    """One kind; it has no tensors itself. ``tokens`` is how many the sources of the model give."""

    def __init__(self, sizes: Sizes, tokens: int, settings: SpeakerConfig) -> None: ...

    def takes(self) -> tuple[VoiceTensor, ...]:
        """The tensors of a voice that the modules below read. ``embedding`` and ``tokens`` are the sources'."""

    def maps(self) -> nn.Module:
        """:class:`Maps` to those that are ``made_by`` maps."""

    def encoder_site(self) -> nn.Module:
        """A module ``(x (B, L, H), voice) -> (B, L, H)`` behind the encoder."""

    def norm(self, place: Place, number: int) -> nn.Module:
        """The norm ``number`` (from 0) of the encoder's 2 n, the variance predictors' 6 or the decoder's 2 n + 1.

        A layer norm of everybody's, ``x (B, N, H) -> (B, N, H)``, or a :class:`shared_models.layers.voiced.Voiced`
        one, ``(x, voice) -> (B, N, H)``. The decoder's last S norms have tensors ``by_site``, if any do.
        """
