"""Each source of the speaker embedding through layers of its own (Chien 2021, arXiv 2103.04088, figure 1).

Pretrained representations and learnt ones differ in scale and content. Two layers for each bring them together before
they are added up. What is said of nobody is 0, and stays 0: an unheard reference adds no bias.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.partition import Owner


class Projection(nn.Module):
    """An embedding ``(B, E)`` by linear, ReLU, linear, less what these make of 0."""

    belongs_to = Owner.SHARED

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.enter = nn.Linear(embedding, embedding)
        self.leave = nn.Linear(embedding, embedding, bias=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """``(B, E)`` to ``(B, E)``."""
        # With the bias of the first layer the slope at 0 is not 0, where the embeddings of newcomers begin.
        nothing = torch.relu(self.enter.bias)
        projected: Tensor = self.leave(F.relu(self.enter(embedding)) - nothing)
        return projected
