"""Tensors of the ``meta`` device have no numbers; here reading one gives a number that a test chose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor


@contextlib.contextmanager
def reading_gives(number: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Size]]:
    """Within, what is brought to the processor from ``meta`` is full of ``number``; the shapes that were brought."""
    brought: list[torch.Size] = []
    cpu = Tensor.cpu

    def bring(tensor: Tensor) -> Tensor:
        if tensor.device.type != "meta":
            return cpu(tensor)
        brought.append(tensor.shape)
        return torch.full(tensor.shape, number, dtype=tensor.dtype)

    with monkeypatch.context() as within:
        within.setattr(Tensor, "cpu", bring)
        yield brought
