"""A pruned model is the dense one with its weakest channels silenced, and is smaller by as much as asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from exported_voice import disturbed, speakers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_federation import random_speech, shaken, tiny_model, tiny_recipe
from torch import nn

from shared_models.errors import RecipeError
from shared_models.export.pruning import (
    acoustic_width,
    convnext_width,
    feed_forwards,
    kept_channels,
    prune_acoustic,
    prune_convnext,
)
from shared_models.features import collate
from shared_models.layers.transformer import ConvolutionalFeedForward
from shared_models.partition import Partition
from shared_models.vocoders.magnitude import MagnitudeDimensions, MagnitudeNetwork
from shared_models.vocoders.vocos import Vocos, VocosDimensions

RECIPE = tiny_recipe(model__encoder_layers=2, model__decoder_layers=2)


def silenced(model: nn.Module, width: int) -> nn.Module:
    """The dense model with all but the ``width`` strongest channels of each layer switched off."""
    masked = copy.deepcopy(model)
    for _, layer in feed_forwards(masked):
        off = torch.ones(len(layer.expand.weight), dtype=torch.bool)
        off[kept_channels(layer, width)] = False
        with torch.no_grad():
            layer.contract.weight[:, off] = 0
    return masked


@settings(max_examples=10)
@given(width=st.sampled_from([8, 16, 24, 31]), seed=st.integers(0, 99))
def test_pruned_acoustic_model_is_the_masked_dense_one(width: int, seed: int) -> None:
    model = shaken(tiny_model(RECIPE)).model.eval()
    pruned, recipe = prune_acoustic(model, RECIPE, width)
    assert not pruned.training
    assert (pruned.dimensions.filter, recipe.model.filter) == (width, width)
    batch = collate(random_speech(3, seed), [f.reference for f in random_speech(3, seed + 1)])
    masked = silenced(model, width)
    with torch.no_grad():
        expected, found = masked(batch), pruned(batch)
        spoken, _ = masked.synthesize(batch.phonemes, batch.phoneme_lengths, speakers(model, 3))
        said, _ = pruned.synthesize(batch.phonemes, batch.phoneme_lengths, speakers(model, 3))
    assert torch.allclose(found.mel, expected.mel, atol=1e-5)
    assert torch.allclose(said, spoken, atol=1e-5)
    # It is what its recipe makes, so that it can be kept and loaded as any base.
    assert Partition.of(pruned).schema == tiny_model(recipe).partition.schema


def test_pruned_vocos_is_the_masked_dense_one() -> None:
    vocos = disturbed(Vocos(VocosDimensions(width=24, hidden=64, blocks=3)))
    assert isinstance(vocos, Vocos)
    pruned = prune_convnext(vocos, 16)
    assert pruned.dimensions == VocosDimensions(width=24, hidden=16, blocks=3)
    mel = torch.randn(2, 9, 80)
    with torch.no_grad():
        assert torch.allclose(pruned(mel), silenced(vocos, 16)(mel), atol=1e-5)


def test_pruned_magnitude_network_is_the_masked_dense_one() -> None:
    network = disturbed(MagnitudeNetwork(MagnitudeDimensions(width=24, hidden=64, blocks=3, iterations=2)))
    assert isinstance(network, MagnitudeNetwork)
    pruned = prune_convnext(network, 16)
    assert isinstance(pruned, MagnitudeNetwork)
    assert pruned.dimensions == MagnitudeDimensions(width=24, hidden=16, blocks=3, iterations=2)
    masked, mel = silenced(network, 16), torch.randn(2, 9, 80)
    assert isinstance(masked, MagnitudeNetwork)
    with torch.no_grad():
        assert torch.allclose(pruned.log_magnitude(mel), masked.log_magnitude(mel), atol=1e-5)
        assert not torch.allclose(pruned.log_magnitude(mel), network.log_magnitude(mel), atol=1e-2)


def test_the_strongest_channels_stay_in_their_order() -> None:
    layer = ConvolutionalFeedForward(4, 6, 3)
    with torch.no_grad():
        layer.expand.weight.fill_(1.0)
        # Neither side alone decides: channel 3 reads loudly and writes nothing.
        layer.contract.weight[:] = torch.tensor([0.1, 3.0, 0.2, 0.0, 2.0, 0.3])[:, None]
        layer.expand.weight[3] = 50.0
    assert kept_channels(layer, 2).tolist() == [1, 4]
    assert kept_channels(layer, 4).tolist() == [1, 2, 4, 5]


def test_width_reaches_the_ratio_and_no_more_than_it_must() -> None:
    recipe = tiny_recipe(model__hidden=32, model__filter=256)
    model = shaken(tiny_model(recipe)).model
    dense = numbers(model.acoustic)
    for ratio in (1.3, 1.6, 2.0):
        width = acoustic_width(model, ratio)
        assert width % 8 == 0
        pruned, _ = prune_acoustic(model, recipe, width)
        wider, _ = prune_acoustic(model, recipe, width + 8)
        assert numbers(wider.acoustic) > dense / ratio >= numbers(pruned.acoustic)
    vocos = Vocos(VocosDimensions(width=24, hidden=512, blocks=3))
    network = MagnitudeNetwork(MagnitudeDimensions(width=24, hidden=1024, blocks=3))
    for vocoder in (vocos, network):
        width = convnext_width(vocoder, 2.0)
        narrow, wider_one = (prune_convnext(vocoder, hidden) for hidden in (width, width + 8))
        # The mel's envelope, or the window, is deployed beside the weights.
        tables = sum(buffer.numel() for buffer in vocoder.buffers())
        assert tables
        assert numbers(narrow) + tables <= numbers(vocoder) / 2 < numbers(wider_one) + tables


@pytest.mark.parametrize(
    ("ratio", "named"), [(1.0, "a ratio above 1"), (50.0, "ask for at most 1.[0-9]+ times, or distil")]
)
def test_a_ratio_that_no_width_reaches_is_refused(ratio: float, named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        acoustic_width(tiny_model(RECIPE).model, ratio)


@pytest.mark.parametrize("width", [32, 33, 0])
def test_a_width_that_prunes_nothing_is_refused(width: int) -> None:
    with pytest.raises(RecipeError, match=f"pruning to {width} channels is not below"):
        prune_acoustic(tiny_model(RECIPE).model, RECIPE, width)


def numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
