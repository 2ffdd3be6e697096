"""Conditional layer norm against plain layer norm and a float64 reference."""

from __future__ import annotations

import torch
from synthetic_batches import batch_of, random_features, small_model

from shared_models.layers.conditional_layer_norm import CLNMaps, ConditionalLayerNorm


def test_an_untrained_map_makes_it_plain_layer_norm() -> None:
    maps, norm, plain = CLNMaps(8, 16, 3), ConditionalLayerNorm(16), torch.nn.LayerNorm(16)
    x = torch.randn(4, 5, 16)
    scale, shift = maps(torch.randn(4, 8))
    assert scale.shape == shift.shape == (4, 3, 16)
    for site in range(3):
        torch.testing.assert_close(norm(x, scale[:, site], shift[:, site]), plain(x), rtol=0, atol=1e-6)


def test_it_scales_and_shifts_by_the_standard_deviation() -> None:
    x, scale, shift = torch.randn(4, 5, 16) * 7 + 3, torch.randn(4, 16), torch.randn(4, 16)
    wide = x.double()
    centred = wide - wide.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = scale.double()[:, None] * centred / deviation + shift.double()[:, None]
    torch.testing.assert_close(
        ConditionalLayerNorm(16)(x, scale, shift).double(), expected, rtol=1e-5, atol=1e-5
    )


def test_each_site_of_the_decoder_takes_its_own_scale_and_shift() -> None:
    """Moving any one site moves the mel, so that no site is skipped and none is used for another."""
    model = small_model().eval()
    batch = batch_of([random_features(5, 20, 1)])
    with torch.no_grad():
        seen = [model(batch).mel]
        for site in range(model.dimensions.sites):
            model.voices.cln_shift.weight.zero_()
            model.voices.cln_shift.weight.view(model.dimensions.sites, -1)[site, 0] = 0.5
            seen.append(model(batch).mel)
    for first in range(len(seen)):
        for second in range(first):
            assert not torch.allclose(seen[first], seen[second], atol=1e-6), (first, second)
