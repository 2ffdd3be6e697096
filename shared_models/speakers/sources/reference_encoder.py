"""The reference encoder of style tokens (Skerry-Ryan 2018, arXiv 1803.09047): convolutions, and a GRU.

Six convolutions halve both axes. Two things differ from the paper, and neither result depends on how far a recording is
padded: the norm is a layer norm over the channels of each place instead of a batch norm, which per-sample gradients and
federated averaging do not allow; and the state is that of a recording's own last step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.audio.normalisation import normalise_mel
from shared_models.layers.sequences import valid_steps
from shared_models.partition import Owner

CHANNELS = (32, 32, 64, 64, 128, 128)
WIDTH = 128
"""Of the state."""


class ReferenceEncoder(nn.Module):
    """Mels ``(B, R, M)`` to ``(B, 128)``."""

    belongs_to = Owner.SHARED

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            for inputs, outputs in zip((1, *CHANNELS[:-1]), CHANNELS, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in CHANNELS)
        for _ in CHANNELS:
            n_mels = halved(n_mels)
        self.recurrent = GatedRecurrence(CHANNELS[-1] * n_mels, WIDTH)

    def forward(self, mel: Tensor, lengths: Tensor) -> Tensor:
        """``mel (B, R, M)`` natural log, ``lengths (B,)`` of 1 or more."""
        x = normalise_mel(mel)[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x * valid_steps(lengths, x.shape[2])[:, None, :, None])
            x = torch.relu(norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            lengths = (lengths + 1) // 2
        said: Tensor = self.recurrent(x.transpose(1, 2).flatten(2), lengths)
        return said


class GatedRecurrence(nn.Module):
    """A GRU of two linear maps (Cho 2014, arXiv 1406.1078), as torch computes it; its last state ``(B, H)``.

    Linear maps have per-sample gradients and second derivatives on every device. ``nn.GRU`` has neither.
    """

    belongs_to = Owner.SHARED

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(inputs, 3 * width)
        self.state = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``x (B, N, C)``, ``lengths (B,)``: steps beyond a row's length leave its state as it is."""
        state = x.new_zeros(len(x), self.width)
        for step, gates in enumerate(self.input(x).unbind(1)):
            reset, update, new = gates.chunk(3, dim=1)
            of_reset, of_update, of_new = self.state(state).chunk(3, dim=1)
            kept = torch.sigmoid(update + of_update)
            candidate = torch.tanh(new + torch.sigmoid(reset + of_reset) * of_new)
            following = (1 - kept) * candidate + kept * state
            state = torch.where((step < lengths)[:, None], following, state)
        return state


def halved(size: int) -> int:
    """What a convolution of kernel 3, stride 2 and padding 1 leaves of a size."""
    return (size + 1) // 2
