"""Sinusoidal positions against the paper's formula."""

from __future__ import annotations

import math

import pytest
import torch

from shared_models.layers.positions import TABLED, SinusoidalPositions, sinusoid


def test_positions_are_the_paper_s() -> None:
    table = sinusoid(50, 8)
    for position, column in ((0, 0), (7, 2), (49, 6)):
        angle = position / 10_000 ** (column / 8)
        assert table[position, column] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[position, column + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    positions = SinusoidalPositions(8)
    far = torch.tensor([[3, TABLED + 5]])
    torch.testing.assert_close(positions(far, TABLED + 6)[0], sinusoid(TABLED + 6, 8)[far[0]])
