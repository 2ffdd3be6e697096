"""Voices that change layers of the model, in the graph that is exported, and in models that are made smaller."""

from __future__ import annotations

import pytest
import torch
from tiny_federation import shaken, tiny_model, tiny_recipe

from client.cloning import voice_alone
from shared_models.errors import RecipeError
from shared_models.export.acoustic_graph import AcousticGraph
from shared_models.export.depth import cut
from shared_models.export.pruning import prune_acoustic


@torch.no_grad()
def test_the_graph_says_what_the_model_says_with_every_change_in_it() -> None:
    kinds = "lora+adapters+masks+whole+variance_norms"
    model = shaken(
        tiny_model(tiny_recipe(speaker__personal=kinds, model__postnet=True, model__source="harmonics"))
    )
    voice = voice_alone(model).expand(2)
    phonemes, lengths = torch.tensor([[5, 9, 14, 7, 11], [8, 3, 2, 0, 0]]), torch.tensor([5, 3])
    expected, counts = model.model.synthesize(phonemes, lengths, voice)
    mel, frames = AcousticGraph(model.model.acoustic)(
        phonemes, lengths, dict(voice.tensors), torch.tensor(1.0), torch.tensor(0.0)
    )
    assert torch.equal(frames, counts)
    torch.testing.assert_close(mel, expected, rtol=1e-4, atol=1e-4)


def test_a_model_whose_layers_voices_change_is_not_made_smaller() -> None:
    recipe = tiny_recipe(speaker__personal="lora", model__decoder_layers=3)
    model = tiny_model(recipe).model
    with pytest.raises(RecipeError, match="cannot be pruned or distilled"):
        cut(model, recipe, recipe.override({"model.decoder_layers": 2}))
    with pytest.raises(RecipeError, match="export it as onnx or int8"):
        prune_acoustic(model, recipe, 16)
