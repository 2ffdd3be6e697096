"""The sizes of the acoustic model, and the named sets of them that a recipe chooses from.

``tiny`` trains on one CPU core, ``base`` is for a laptop or a small GPU, ``large`` is FastSpeech 2's own
(ming024's LibriTTS configuration). Whatever the size, one voice's personal set has at most 5,000 numbers:
where the decoder has more norms than that allows, only the last ones are conditioned on the speaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared_models.acoustic.variance_adaptor import PROSODY
from shared_models.config import ModelConfig
from shared_models.errors import RecipeError
from shared_models.text.symbols import SILENT, SYMBOLS

PERSONAL_LIMIT = 5_000
"""Most numbers in one voice's personal set: DP noise grows with every coordinate."""
MOST_SITES = 9
"""AdaSpeech's count of conditional norms: two in each of 4 decoder blocks, and a final one."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Every size that determines the tensors of a model, and what is fixed of how it speaks."""

    vocabulary: int
    hidden: int
    """H, width of encoder and decoder."""
    encoder_layers: int
    decoder_layers: int
    heads: int
    filter: int
    """Width of the convolutional feed-forward layers."""
    kernel: int
    """Kernel of their first convolution; the second's is 1."""
    postnet: int
    """Channels of the PostNet, 0 for none."""
    dropout: float
    style_channels: int
    """Width inside the reference encoder."""
    n_mels: int = 80
    harmonics: bool = False
    """Whether the decoder is told contours and shown harmonics (:mod:`shared_models.acoustic.harmonic_source`)."""
    mean_durations: bool = False
    """Whether the duration predictor says means, and synthesis carries what rounding leaves."""
    pitch_spread: float = 1.0
    """How many times wider than predicted the phonemes' pitch is spoken."""
    duration_spread: float = 1.0
    """The same for the durations of sounds."""
    contrast: float = 0.3
    """Of the postfilter, when the model speaks (:mod:`shared_models.audio.postfilter`)."""
    silences: tuple[int, ...] = (0,)
    """Symbols that may last no frame at all: padding, pauses, punctuation."""

    @property
    def embedding(self) -> int:
        """E, width of the speaker embedding."""
        return self.hidden

    @property
    def prosody(self) -> int:
        """P, prosody numbers a voice."""
        return PROSODY

    @property
    def sites(self) -> int:
        """S, conditional layer norms: the last S norms of the decoder."""
        affordable = (PERSONAL_LIMIT - self.embedding - PROSODY) // (2 * self.hidden)
        return min(MOST_SITES, 2 * self.decoder_layers + 1, affordable)


NAMED: dict[str, dict[str, int]] = {
    "tiny": {
        "hidden": 128, "encoder_layers": 3, "decoder_layers": 4, "heads": 2,
        "filter": 512, "kernel": 3, "postnet": 0, "style_channels": 64,
    },
    "base": {
        "hidden": 256, "encoder_layers": 4, "decoder_layers": 4, "heads": 2,
        "filter": 896, "kernel": 3, "postnet": 0, "style_channels": 128,
    },
    "large": {
        "hidden": 256, "encoder_layers": 4, "decoder_layers": 6, "heads": 2,
        "filter": 1024, "kernel": 9, "postnet": 512, "style_channels": 128,
    },
}  # fmt: skip
POSTNET_CHANNELS = 512


def dimensions(config: ModelConfig, symbols: Sequence[str] = SYMBOLS) -> Dimensions:
    """The dimensions that a recipe's ``[model]`` asks for, over ``symbols``.

    Raises :class:`RecipeError` for sizes that do not fit together.
    """
    sizes = dict(NAMED[config.size])
    for name in ("hidden", "encoder_layers", "decoder_layers", "heads", "filter", "kernel"):
        chosen = getattr(config, name)
        if chosen is not None:
            sizes[name] = chosen
    if config.postnet is not None:
        sizes["postnet"] = POSTNET_CHANNELS if config.postnet else 0
    silences = tuple(index for index, symbol in enumerate(symbols) if symbol in SILENT)
    found = Dimensions(
        vocabulary=len(symbols),
        dropout=config.dropout,
        harmonics=config.source == "harmonics",
        mean_durations=config.durations == "mean",
        pitch_spread=config.pitch_spread,
        duration_spread=config.duration_spread,
        contrast=config.contrast,
        silences=silences,
        **sizes,
    )
    _check(found)
    return found


def _check(found: Dimensions) -> None:
    if found.hidden % (2 * found.heads):
        raise RecipeError(
            f"model.hidden = {found.hidden} does not split into {found.heads} attention heads of even width: "
            "make it a multiple of twice model.heads"
        )
    if found.kernel % 2 == 0:
        raise RecipeError(
            f"model.kernel = {found.kernel} must be odd, so that a convolution keeps the length"
        )
    if found.sites < 1:
        raise RecipeError(
            f"model.hidden = {found.hidden} makes one voice larger than {PERSONAL_LIMIT} numbers: "
            "choose a smaller width"
        )
