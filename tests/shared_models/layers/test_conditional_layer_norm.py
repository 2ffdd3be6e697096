"""Conditional layer norm against a float64 reference."""

from __future__ import annotations

import torch

from shared_models.layers.conditional_layer_norm import ConditionalLayerNorm


def test_it_scales_and_shifts_by_the_standard_deviation() -> None:
    x, scale, shift = torch.randn(4, 5, 16) * 7 + 3, torch.randn(4, 16), torch.randn(4, 16)
    wide = x.double()
    centred = wide - wide.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = scale.double()[:, None] * centred / deviation + shift.double()[:, None]
    torch.testing.assert_close(
        ConditionalLayerNorm(16)(x, scale, shift).double(), expected, rtol=1e-5, atol=1e-5
    )
