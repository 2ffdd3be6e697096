"""How a voice's own tensors change a layer: which layers, by which names, and by what arithmetic.

Every voice of a batch has tensors of its own, so a change is a product of batches. Tensors are kept in units in which
Adam, which moves every number by the learning rate, moves a layer's output by about as much whatever its width: a
matrix is what is kept over its fan-in (as the widths are scaled in arXiv 2203.03466, table 3). All begin without
effect.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.errors import RecipeError
from shared_models.seeds import generator
from shared_models.speakers.adaptation import Site

_PLACES: dict[Site, str] = {
    "phonemes": r"embedding",
    "encoder": r"encoder\..+",
    "encoder.attention": r"encoder\.\d+\.attention\.\w+",
    "encoder.feed_forward": r"encoder\.\d+\.feed_forward\.\w+",
    "variance": r"variance_adaptor\..+",
    "decoder": r"decoder\..+|final_norm",
    "decoder.attention": r"decoder\.\d+\.attention\.\w+",
    "decoder.feed_forward": r"decoder\.\d+\.feed_forward\.\w+",
    "mel": r"mel",
    "source": r"source\..+",
    "postnet": r"postnet\..+",
}


def layers_at(
    acoustic: nn.Module, sites: Iterable[Site], kinds: tuple[type[nn.Module], ...]
) -> dict[str, nn.Module]:
    """The layers of some ``kinds`` at ``sites``, by their path in the acoustic model and in its order.

    Raises :class:`RecipeError` if there is none.
    """
    chosen = [re.compile(_PLACES[site]) for site in sites]
    found = {
        path: layer
        for path, layer in acoustic.named_modules()
        if isinstance(layer, kinds) and any(place.fullmatch(path) for place in chosen)
    }
    if not found:
        raise RecipeError(
            f"the model has no layer at {', '.join(sites) or 'no site'} for voices to change: choose other sites in "
            "speaker.layers"
        )
    return found


def name_of(kind: str, path: str, part: str) -> str:
    """The name of a voice's tensor ``part`` for the layer at ``path``."""
    return "/".join([kind, *path.split("."), part])


def fan_in(layer: nn.Module) -> int:
    """Inputs to one output of a linear layer or a convolution."""
    weight = layer.get_parameter("weight")
    return weight[0].numel()


@lru_cache(maxsize=512)
def uniform_start(name: str, rows: int, columns: int) -> Tensor:
    """``(rows, columns)`` uniform in +-sqrt(columns): over its fan-in, it is as nn.Linear begins; the same for all."""
    drawn = torch.rand(rows, columns, generator=generator("start of a voice", name, rows, columns))
    return (2 * drawn - 1) * math.sqrt(columns)


def columns_of(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer's matrix multiplies: ``(B, fan_in, N)`` of its input, ``(B, N, in)`` or, of a convolution,
    ``(B, in, N)``.
    """
    if not isinstance(layer, nn.Conv1d):
        return x.transpose(1, 2)
    width, padding = layer.kernel_size[0], int(layer.padding[0])
    if width == 1:
        return x
    padded = F.pad(x, (padding, padding))
    shifted = [padded[..., step : step - width + 1 or None] for step in range(width)]
    return torch.stack(shifted, dim=2).flatten(1, 2)


def as_output(layer: nn.Module, columns: Tensor) -> Tensor:
    """``(B, out, N)`` as the layer gives it."""
    return columns if isinstance(layer, nn.Conv1d) else columns.transpose(1, 2)
