"""Conditional norms as a conditioning: the maps, the added embedding, and what a decoder takes at each site."""

from __future__ import annotations

import torch
from synthetic_batches import batch_of, random_features, small_model

from shared_models.layers.conditional_layer_norm import ConditionalLayerNorm
from shared_models.speakers.conditioning.cln import AddedEmbedding, CLNMaps
from shared_models.speakers.voice import Voice


def test_an_untrained_map_makes_it_plain_layer_norm() -> None:
    maps, norm, plain = CLNMaps(8, 16, 3), ConditionalLayerNorm(16), torch.nn.LayerNorm(16)
    x = torch.randn(4, 5, 16)
    made = maps(torch.randn(4, 8))
    scale, shift = made["cln_scale"], made["cln_shift"]
    assert scale.shape == shift.shape == (4, 3, 16)
    for site in range(3):
        torch.testing.assert_close(norm(x, scale[:, site], shift[:, site]), plain(x), rtol=0, atol=1e-6)


def test_maps_of_fewer_sites_make_what_the_whole_ones_make_there() -> None:
    torch.manual_seed(0)
    maps, fewer = CLNMaps(8, 16, 3), CLNMaps(8, 16, 2)
    for parameter in maps.parameters():
        torch.nn.init.normal_(parameter)
    fewer.load_state_dict(maps.at_sites([2, 0]))
    embedding = torch.randn(4, 8)
    for name, made in fewer(embedding).items():
        torch.testing.assert_close(made, maps(embedding)[name][:, [2, 0]])
    maps.reset()
    assert all(
        torch.equal(a, b) for a, b in zip(maps.parameters(), CLNMaps(8, 16, 3).parameters(), strict=True)
    )


def test_the_embedding_is_added_by_one_linear_map() -> None:
    torch.manual_seed(5)
    linear = torch.nn.Linear(8, 16, bias=False)
    torch.manual_seed(5)
    added = AddedEmbedding(8, 16)
    assert torch.equal(added.weight, linear.weight), "it begins as a linear layer does"
    x, embedding = torch.randn(2, 5, 16), torch.randn(2, 8)
    torch.testing.assert_close(added(x, Voice({"embedding": embedding})), x + linear(embedding)[:, None])


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
