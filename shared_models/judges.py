"""What ships beside a base to judge clones while they are adapted. It is no part of the model, nor of its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shared_models.acoustic.dimensions import Dimensions
from shared_models.errors import CheckpointError
from shared_models.mel_discriminator import MelDiscriminator, discriminator_in
from shared_models.phoneme_recogniser import PhonemeRecogniser, recogniser_in

_DISCRIMINATOR, _RECOGNISER = "discriminator.", "recogniser."
_LEARNT_BESIDE = "optimizer.adversary.weights."
"""Where a checkpoint of centralised training keeps its discriminator."""


@dataclass(frozen=True, slots=True)
class Judges:
    """Each frozen, and None of a base that lacks it."""

    discriminator: MelDiscriminator | None = None
    """What training was against; a clone's own copy of it learns beside."""
    recogniser: PhonemeRecogniser | None = None
    """What reads the words that clones say."""

    def require_fit(self, dimensions: Dimensions) -> None:
        """Raises :class:`CheckpointError` for a recogniser of other phonemes or mels than a base's."""
        if self.recogniser is None:
            return
        reads = (self.recogniser.phonemes.out_features, self.recogniser.n_mels)
        if reads != (dimensions.vocabulary, dimensions.n_mels):
            raise CheckpointError(
                f"the phoneme recogniser in the checkpoint reads {reads[0]} phonemes in {reads[1]} bands, its model "
                f"has {dimensions.vocabulary} and {dimensions.n_mels}: the file was put together of two, so use another"
            )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """For a base's file, in half precision."""
        kept: dict[str, Tensor] = {}
        for prefix, judge in ((_DISCRIMINATOR, self.discriminator), (_RECOGNISER, self.recogniser)):
            if judge is not None:
                kept |= {f"{prefix}{name}": _smaller(value) for name, value in judge.state_dict().items()}
        return kept


NOBODY = Judges()


def judges_in(tensors: Mapping[str, Tensor]) -> Judges:
    """Those among the tensors of a base's file or a checkpoint's. Raises CheckpointError for a damaged one."""
    discriminator = discriminator_in(tensors, _DISCRIMINATOR, _LEARNT_BESIDE)
    return Judges(discriminator, recogniser_in(tensors, _RECOGNISER))


def _smaller(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value.to(torch.int16)
