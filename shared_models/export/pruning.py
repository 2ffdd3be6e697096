"""Structured magnitude pruning: whole inner channels leave, and what is left is a smaller dense model.

A feed-forward layer, in the acoustic model's Transformer blocks as in the vocoders' ConvNeXt blocks, expands to
inner channels and contracts again. Channel c costs its row of the expansion and its column of the
contraction, and removing it leaves every other tensor as it was. In each block the channels with the
smallest ``||expand[c]|| * ||contract[:, c]||`` go, the norm of what a channel can write for a unit of input
(Li 2017, arXiv 1608.08710, who rank filters by their norm). Every block keeps equally many, so that the
result is what a recipe with a smaller ``model.filter``, or a vocoder's smaller ``hidden``, describes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.layers.transformer import ConvolutionalFeedForward
from shared_models.layers.voiced import is_changed
from shared_models.vocoders.magnitude import MagnitudeNetwork
from shared_models.vocoders.vocos import ConvNeXtBlock, Vocos

STEP = 8
"""Widths are multiples of it: what vector units and int8 kernels like."""
M = TypeVar("M", bound=nn.Module)
ConvNeXtVocoder = Vocos | MagnitudeNetwork
"""The vocoders that are made of blocks whose inner channels concern nobody else, as HiFi-GAN's do."""
_FeedForward = ConvolutionalFeedForward | ConvNeXtBlock


def prune_acoustic(model: VoiceModel, recipe: Recipe, width: int) -> tuple[VoiceModel, Recipe]:
    """``model`` with ``width`` channels in each feed-forward layer, and the recipe of that model.

    ``recipe`` is the model's own. Raises :class:`RecipeError` if ``width`` is not below the model's, and as
    :func:`refuse_changed` does.
    """
    refuse_changed(model)
    _check_width(width, model.dimensions.filter, "model.filter")
    smaller = recipe.override({"model.filter": width})
    pruned = build_model(smaller, voices=model.voices.count)
    return _narrowed(model, pruned), smaller


def refuse_changed(model: VoiceModel) -> None:
    """Raise :class:`RecipeError` for a model whose layers voices change: they would not fit a smaller one."""
    if is_changed(model.acoustic):
        raise RecipeError(
            "voices of this adaptation change layers of the model, so it cannot be pruned or distilled for them: "
            "export it as onnx or int8, or clone with speaker.personal 'vectors' or 'maps'"
        )


def prune_convnext(generator: ConvNeXtVocoder, hidden: int) -> ConvNeXtVocoder:
    """``generator`` with ``hidden`` channels inside each block. Raises :class:`RecipeError` if it has no more."""
    _check_width(hidden, generator.dimensions.hidden, "the vocoder's hidden channels")
    if isinstance(generator, Vocos):
        return _narrowed(generator, Vocos(replace(generator.dimensions, hidden=hidden)))
    return _narrowed(generator, MagnitudeNetwork(replace(generator.dimensions, hidden=hidden)))


def acoustic_width(model: VoiceModel, ratio: float) -> int:
    """The largest width whose acoustic model is ``ratio`` times smaller than ``model``'s, which is what is deployed.

    What makes a voice is left out: a deployed voice is made already. Raises
    :class:`RecipeError` if the rest of the model alone is larger than that.
    """
    return _width(model.acoustic, ratio, "the acoustic model")


def convnext_width(generator: ConvNeXtVocoder, ratio: float) -> int:
    """The same for a vocoder's inner channels; what it deploys beside weights, such as the mel's envelope, counts."""
    return _width(generator, ratio, "the vocoder", tables=_numbers(generator.buffers()))


def kept_channels(layer: _FeedForward, width: int) -> Tensor:
    """The ``width`` strongest inner channels ``(width,)`` int64, in their order."""
    expand, contract = layer.expand.weight.detach(), layer.contract.weight.detach()
    strength: Tensor = expand.flatten(1).norm(dim=1) * contract.transpose(0, 1).flatten(1).norm(dim=1)
    return strength.topk(width).indices.sort().values


def feed_forwards(model: nn.Module) -> list[tuple[str, _FeedForward]]:
    """Every prunable layer of a model by name."""
    return [
        (n, m) for n, m in model.named_modules() if isinstance(m, ConvolutionalFeedForward | ConvNeXtBlock)
    ]


@torch.no_grad()
def _narrowed(source: M, target: M) -> M:
    """Copy into ``target``, whose inner channels are fewer, what is left of ``source``."""
    state = source.state_dict()
    narrow = dict(feed_forwards(target))
    for name, layer in feed_forwards(source):
        kept = kept_channels(layer, len(narrow[name].expand.weight))
        for part in ("expand.weight", "expand.bias"):
            state[f"{name}.{part}"] = state[f"{name}.{part}"].index_select(0, kept)
        state[f"{name}.contract.weight"] = state[f"{name}.contract.weight"].index_select(1, kept)
    target.load_state_dict(state)
    return target.train(source.training)


def _width(model: nn.Module, ratio: float, what: str, tables: int = 0) -> int:
    """``tables`` numbers come with the smaller model beside its weights."""
    total = _numbers(model.parameters())
    layers = [layer for _, layer in feed_forwards(model)]
    if not layers or ratio <= 1:
        raise RecipeError(f"{what} cannot be pruned {ratio:g} times smaller: give a ratio above 1")
    inner = sum(_numbers((m.expand.weight, m.expand.bias, m.contract.weight)) for m in layers)
    present = len(layers[0].expand.weight)
    fixed = total - inner + tables
    width = int((total / ratio - fixed) / (inner / present)) // STEP * STEP
    if width < STEP:
        most = total / (fixed + inner / present * STEP)
        raise RecipeError(
            f"{what} cannot be pruned {ratio:g} times smaller, because only {inner / total:.0%} of it are feed-forward "
            f"channels: ask for at most {most:.2f} times, or distil a smaller model"
        )
    return width


def _check_width(width: int, present: int, what: str) -> None:
    if not 1 <= width < present:
        raise RecipeError(f"pruning to {width} channels is not below {what} = {present}: choose fewer")


def _numbers(tensors: Iterable[Tensor | None]) -> int:
    return sum(tensor.numel() for tensor in tensors if tensor is not None)
