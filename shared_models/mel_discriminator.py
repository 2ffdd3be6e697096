"""A judge of mel spectrograms as pictures, which keeps a decoder from blurring them.

An L1 error is least at the mean of all that might be said, which has neither harmonics nor noise. A discriminator
tells such means from recordings. It is strided convolutions over time and bands, so that every score judges a patch of
about 60 frames by all bands (as the multi-window discriminators of mel decoders do, arXiv 2204.11792, section 3.3; the
losses are least squares and feature matching, arXiv 2010.05646, section 2.3).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared_models.audio.normalisation import normalise_mel
from shared_models.errors import CheckpointError
from shared_models.partition import Owner
from shared_models.tensor_file import under
from shared_models.vocoders.discriminators.judgement import Judgement

_ITS_OWN = ("layers.", "score.")
"""What the names of its weights begin with."""
_SLOPE = 0.2
_KERNEL = (5, 5)
"""Frames, bands."""
_STRIDES = ((1, 2), (2, 2), (2, 2), (2, 2))


class MelDiscriminator(nn.Module):
    """Scores patches of a mel. It serves training and is part of no voice."""

    belongs_to = Owner.PERSONAL

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [1, channels, *[2 * channels] * (len(_STRIDES) - 1)]
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(
                nn.Conv2d(entering, leaving, _KERNEL, stride=stride, padding=(2, 2))
            )
            for entering, leaving, stride in zip(widths[:-1], widths[1:], _STRIDES, strict=True)
        )
        self.score = nn.Conv2d(widths[-1], 1, (3, 3), padding=(1, 1))

    def forward(self, mel: Tensor, mask: Tensor) -> Judgement:
        """The judgement of natural-log ``mel (B, W, n_mels)``; frames outside ``mask (B, W)`` are all alike."""
        x = (normalise_mel(mel) * mask[..., None]).unsqueeze(1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return Judgement((torch.flatten(self.score(x).float(), 1),), (tuple(features),))


def discriminator_in(tensors: Mapping[str, Tensor], *prefixes: str) -> MelDiscriminator | None:
    """The one among a file's ``tensors``, under the first of ``prefixes`` that any of its names begins with, or None.

    Other judges may lie in its place, as those of episodes do. Raises :class:`CheckpointError` if it is damaged.
    """
    for prefix in prefixes:
        state = under(tensors, prefix)
        if any(name.startswith(_ITS_OWN) for name in state):
            return _discriminator_of(state)
    return None


def _discriminator_of(state: Mapping[str, Tensor]) -> MelDiscriminator:
    score = state.get("score.weight", torch.empty(0))
    if score.ndim != 4 or not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise CheckpointError(
            "the discriminator in the checkpoint is damaged or of another version of FedVoice"
        )
    found = MelDiscriminator(score.shape[1] // 2)
    try:
        found.load_state_dict({name: value.float() for name, value in state.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"the discriminator in the checkpoint is not one of FedVoice's ({str(error).splitlines()[0]})"
        ) from None
    return found
