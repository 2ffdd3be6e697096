"""A classification of the training speakers by what is heard of them, beside the loss of speech (multi-task).

It exists where several speakers train in one place, and nowhere else: a device has one speaker. What it learns of them
is no part of what is shared.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.partition import Owner


class SpeakerClassifier(nn.Module):
    """Embeddings ``(B, E)`` to each one's cross-entropy ``(B,)`` over the training speakers."""

    belongs_to = Owner.PERSONAL

    def __init__(self, embedding: int, speakers: int) -> None:
        super().__init__()
        # Given weights draw no random numbers: a model begins alike with it and without.
        self.weight = nn.Parameter(torch.zeros(speakers, embedding))
        self.bias = nn.Parameter(torch.zeros(speakers))

    @torch.no_grad()
    def reset(self) -> None:
        """Tell nobody apart."""
        self.weight.zero_()
        self.bias.zero_()

    def forward(self, embedding: Tensor, speakers: Tensor, heard: Tensor) -> Tensor:
        """``speakers (B,)`` are rows, and ``heard (B,)`` says of whom something is heard: the loss of others is 0."""
        known = heard & (speakers >= 0)
        scores = F.linear(embedding, self.weight, self.bias)
        lost = F.cross_entropy(scores, speakers.clamp_min(0), reduction="none")
        return torch.where(known, lost, 0.0)
