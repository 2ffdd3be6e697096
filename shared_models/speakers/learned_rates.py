"""How fast each number of a voice adapts in an inner loop, learnt by the outer one.

A rate is that of the inner loop times a start times ``exp(r)``. So it stays above 0, whereas the paper's may change its
sign. The gradient is clipped after it is multiplied, so that no step is longer than the recipe says.

Source: Li 2017, "Meta-SGD" (arXiv 1707.09835, eq. 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared_models.partition import Owner
from shared_models.speakers.voice import VoiceTensor


class LearnedRates(nn.Module):
    """What multiplies the gradients of a voice's numbers: everybody's, as it says nothing of one speaker.

    ``tensors`` are those that voices have whatever their adaptation, so that a base is the same for every adaptation.
    """

    belongs_to = Owner.SHARED

    def __init__(self, tensors: Sequence[VoiceTensor], start: float) -> None:
        super().__init__()
        self.start = start
        self.tensors = {tensor.name: tensor for tensor in tensors}
        for tensor in self.tensors.values():
            self.register_parameter(tensor.name, nn.Parameter(torch.zeros(tensor.shape)))

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:
        """The parameters, by name, of voices that have the conditional norms ``sites`` alone, in that order."""
        chosen = list(sites)
        return {
            name: self.get_parameter(name)[chosen] if tensor.by_site else self.get_parameter(name)
            for name, tensor in self.tensors.items()
        }

    def forward(self) -> dict[str, Tensor]:
        """The multipliers by name, of the tensors' shapes."""
        return {name: self.start * self.get_parameter(name).exp() for name in self.tensors}
