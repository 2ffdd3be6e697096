"""Low-rank changes of the acoustic model that are everybody's: Fed-PISA's style (Wang 2025, arXiv 2509.16010).

A voice has its own low-rank changes beside them (``speaker.personal = "lora"``), Fed-PISA's identity. On a frozen base
(``model.frozen``) the style is all that a federation sends. ``y = W x + B A x`` as in LoRA (Hu 2021, arXiv 2106.09685,
section 4.1), with alpha the rank: A begins as a linear layer does and B at 0, so that a new style changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.layers.voiced import Tensors, change
from shared_models.partition import Owner
from shared_models.speakers.adaptation.changes import as_output, columns_of, fan_in, layers_at, uniform_start
from shared_models.speakers.adaptation.lora import SITES

STYLE = "style"
"""The name of its factors within a layer."""


class StyleFactors(nn.Module):
    """The two factors of one layer: ``down (r, fan_in)`` and ``up (out, r)``."""

    belongs_to = Owner.SHARED

    def __init__(self, path: str, layer: nn.Module, rank: int) -> None:
        super().__init__()
        inputs, outputs = fan_in(layer), len(layer.get_parameter("weight"))
        self.down = nn.Parameter(uniform_start(f"{STYLE}/{path}", rank, inputs) / inputs)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, columns: Tensor) -> Tensor:
        """``(B, fan_in, N)`` to ``(B, out, N)``."""
        # A product of batches of matrices: of one matrix and a batch, torch chooses the way by what requires gradients,
        # and the ways round differently.
        down, up = (factor.expand(len(columns), -1, -1) for factor in (self.down, self.up))
        return up @ (down @ columns)


def add_shared_style(acoustic: nn.Module, rank: int) -> None:
    """Give the layers at LoRA's own sites factors of this rank."""
    for path, layer in layers_at(acoustic, SITES, (nn.Linear, nn.Conv1d)).items():
        layer.add_module(STYLE, StyleFactors(path, layer, rank))
        change(layer, with_style)


def with_style(layer: nn.Module, x: Tensor, y: Tensor, voice: Tensors) -> Tensor:  # noqa: ARG001
    """``y`` and what the layer's factors make of its input, whoever speaks."""
    return y + as_output(layer, layer.get_submodule(STYLE)(columns_of(layer, x)))
