"""Speaker encoders as sources: a d-vector, an x-vector or an ECAPA embedding, by one linear map.

An encoder from a file (``speaker.encoders``) is frozen: nobody trains it, it never travels, and its content is part of
the partition's schema. Without a file, or if ``speaker.joint`` names it, it trains with the model; then it has no batch
norms, whose running statistics can be neither clipped nor noised.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.errors import RecipeError
from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.encoders.d_vector import PART, DVector
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.speakers.encoders.encoder_file import load_encoder
from shared_models.speakers.heard import Heard
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.voice import VoiceTensor

LEAST_STEPS = 8
"""What is shorter is padded: a network reflects up to 4 steps at an edge."""


class Frozen(nn.Module):
    """A trained network that nobody trains; always in evaluation mode."""

    belongs_to = Owner.FROZEN

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def train(self, mode: bool = True) -> Frozen:  # noqa: ARG002
        """Stays as it is."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *heard: Tensor) -> Any:
        """What the network says, without a gradient."""
        return self.network(*heard)


class EncoderSource(nn.Module):
    """An encoder of ``kind``, and the map from its embedding to the model's ``(B, E)``."""

    belongs_to = Owner.SHARED
    tokens = 0
    alone = False

    def __init__(self, kind: str, sizes: Sizes, speaker: SpeakerConfig) -> None:
        super().__init__()
        encoder = _encoder(kind, sizes, speaker)
        self.hears: tuple[str, ...] = (encoder.hears,)
        self.by_parts = isinstance(encoder, DVector)
        frozen = kind in speaker.encoders and kind not in speaker.joint
        self.encoder: nn.Module = Frozen(encoder) if frozen else encoder
        self.projection = nn.Linear(encoder.width, sizes.embedding)

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Nothing: a voice is heard anew."""
        return ()

    def forward(self, heard: Heard) -> Contribution:
        """What the encoder says of each row's reference, and 0 for an empty one."""
        signal = heard.signals[self.hears[0]]
        values = F.pad(signal.values, (0, 0, 0, max(0, LEAST_STEPS - signal.values.shape[1])))
        lengths = signal.lengths.clamp_min(LEAST_STEPS)
        said = self._of_parts(values, lengths) if self.by_parts else self.encoder(values, lengths)
        embedding: Tensor = self.projection(F.normalize(said, dim=1))
        return Contribution(embedding * (signal.lengths > 0)[:, None])

    def pool(self, each: Contribution) -> Contribution:
        """The mean over the recordings."""
        return each.mean()

    def _of_parts(self, values: Tensor, lengths: Tensor) -> Tensor:
        """The mean ``(B, width)`` over parts of 1.6 s, as long as a d-vector was trained on; a last one may be short.

        Parts begin every 0.8 s; one counts if three quarters of it are real, the first always.
        """
        total = lengths.new_zeros(())
        summed: Tensor | None = None
        for start in range(0, max(1, values.shape[1] - PART // 4), PART // 2):
            part = values[:, start : start + PART]
            counts = (lengths - start >= (1 if start == 0 else PART * 3 // 4))[:, None]
            said = self.encoder(part, (lengths - start).clamp(1, part.shape[1])) * counts
            summed = said if summed is None else summed + said
            total = total + counts
        assert summed is not None
        return summed / total


class DVectorSource(EncoderSource):
    """A d-vector (GE2E)."""

    def __init__(self, sizes: Sizes, speaker: SpeakerConfig) -> None:
        super().__init__("d_vector", sizes, speaker)


class XVectorSource(EncoderSource):
    """An x-vector."""

    def __init__(self, sizes: Sizes, speaker: SpeakerConfig) -> None:
        super().__init__("x_vector", sizes, speaker)


class EcapaSource(EncoderSource):
    """An embedding of ECAPA-TDNN."""

    def __init__(self, sizes: Sizes, speaker: SpeakerConfig) -> None:
        super().__init__("ecapa", sizes, speaker)


def file_of(kind: str, speaker: SpeakerConfig) -> Path:
    """Where the weights of a source are: at the path that ``speaker.encoders`` names (:func:`named_file`)."""
    return named_file(speaker.encoders[kind])


def named_file(name: str) -> Path:
    """Where the file of an encoder is that a recipe names: at that path.

    A name alone is a file of ``$XDG_DATA_HOME/fedvoice/encoders`` (by default ``~/.local/share``), unless the working
    folder has one: what a live federation's recipe names, every device's owner puts there.
    """
    named = Path(name)
    if named.name != name or named.exists():
        return named
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "fedvoice" / "encoders" / named


def _encoder(kind: str, sizes: Sizes, speaker: SpeakerConfig) -> Any:
    if kind not in speaker.encoders:
        return build_encoder(kind, **_small(kind, sizes))
    encoder = load_encoder(file_of(kind, speaker), kind)
    if kind in speaker.joint and list(encoder.buffers()):
        raise RecipeError(
            f"the {kind} in {speaker.encoders[kind]} has batch norms, whose running statistics a federation cannot "
            "average: train one with encoder.norm = 'layer', or take it out of speaker.joint"
        )
    return encoder


def _small(kind: str, sizes: Sizes) -> dict[str, Any]:
    """An encoder that trains with the model is as wide as the model's reference encoder, not as published."""
    channels = sizes.style_channels
    if kind == "d_vector":
        return {"hidden": channels, "layers": 2, "width": 2 * channels}
    if kind == "x_vector":
        return {"channels": channels, "aggregated": 3 * channels, "width": 2 * channels, "norm": "layer"}
    return {"channels": channels, "aggregated": 3 * channels, "attention": channels // 2,
            "squeezed": channels // 2, "width": 2 * channels, "norm": "layer"}  # fmt: skip
