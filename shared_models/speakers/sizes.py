"""What the parts that make a voice need to know of a model's dimensions."""

from __future__ import annotations

from typing import Protocol


class Sizes(Protocol):
    """The sizes of a model; :class:`shared_models.acoustic.dimensions.Dimensions` has them."""

    @property
    def embedding(self) -> int:
        """E, width of the speaker embedding."""

    @property
    def hidden(self) -> int:
        """H, width of encoder and decoder."""

    @property
    def encoder_layers(self) -> int:
        """Blocks of the encoder."""

    @property
    def decoder_layers(self) -> int:
        """Blocks of the decoder."""

    @property
    def sites(self) -> int:
        """S, norms of the decoder that are the speaker's."""

    @property
    def n_mels(self) -> int:
        """Bins of a mel."""

    @property
    def style_channels(self) -> int:
        """Width inside a reference encoder."""

    @property
    def dropout(self) -> float:
        """Share of activations that training drops."""
