"""Layers that take a voice beside their input: norms that it scales and shifts, layers that it changes.

A voice changes a layer by its own tensors, not by parameters of the layer. A layer that is changed keeps its
parameters under their names. So a model has the same shared set with changes and without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn


class Tensors(Protocol):
    """A voice as a layer sees it: B voices' tensors ``(B, ...)`` by name."""

    def __getitem__(self, name: str) -> Tensor: ...


Change = Callable[[nn.Module, Tensor, Tensor, Tensors], Tensor]
"""What a layer gives with a voice: of itself, its input ``x``, what it gave so far ``y``, and the voice; like ``y``."""


class Voiced:
    """A module that is called as ``module(x, voice)``."""


def apply_layer(layer: nn.Module, x: Tensor, voice: Tensors | None) -> Tensor:
    """``x`` through ``layer``, which is told the ``voice`` if it takes one. Raises ValueError if it lacks one then."""
    if not isinstance(layer, Voiced):
        given: Tensor = layer(x)
        return given
    if voice is None:
        raise ValueError(f"{type(layer).__name__} takes a voice, and none was given")
    changed: Tensor = layer(x, voice)
    return changed


class Changed(Voiced):
    """What the changed layers below have in common: each of ``changes`` in turn acts on the layer's output."""

    changes: list[Change]

    def forward(self, x: Tensor, voice: Tensors) -> Tensor:
        """As the layer's own, and then the changes."""
        y: Tensor = super().forward(x)  # type: ignore[misc]  # the torch layer that stands behind this class
        for change in self.changes:
            y = change(self, x, y, voice)  # type: ignore[arg-type]  # it is a module
        return y


class ChangedLinear(Changed, nn.Linear):  # type: ignore[misc]  # it takes a voice
    """A linear layer, ``(B, N, in)`` to ``(B, N, out)``."""


class ChangedConv1d(Changed, nn.Conv1d):  # type: ignore[misc]
    """A convolution, ``(B, in, N)`` to ``(B, out, N)``."""


class ChangedLayerNorm(Changed, nn.LayerNorm):  # type: ignore[misc]
    """A layer norm over the last axis of ``(B, N, H)``."""


class ChangedEmbedding(Changed, nn.Embedding):  # type: ignore[misc]
    """A table, ``(B, N)`` int64 to ``(B, N, H)``."""


_CHANGED: dict[type[nn.Module], type[Changed]] = {
    nn.Linear: ChangedLinear,
    nn.Conv1d: ChangedConv1d,
    nn.LayerNorm: ChangedLayerNorm,
    nn.Embedding: ChangedEmbedding,
}


def is_changed(model: nn.Module) -> bool:
    """Whether voices change any layer of ``model``."""
    return any(isinstance(layer, Changed) for layer in model.modules())


def can_change(layer: nn.Module) -> bool:
    """Whether :func:`change` knows the layer's kind."""
    return type(layer) in _CHANGED or isinstance(layer, Changed)


def change(layer: nn.Module, by: Change) -> None:
    """Let voices change ``layer`` by ``by``, after the changes that it has already.

    The layer becomes one of its changed kind where it is, as torch's parametrizations do it: its parameters, their
    names and their order stay. Raises TypeError for a kind that is not known.
    """
    if not isinstance(layer, Changed):
        if type(layer) not in _CHANGED:
            raise TypeError(f"a voice cannot change a {type(layer).__name__}")
        layer.__class__ = _CHANGED[type(layer)]  # type: ignore[assignment]  # each is a module too
        assert isinstance(layer, Changed)
        layer.changes = []
    layer.changes.append(by)
