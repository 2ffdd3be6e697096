"""Voices that change layers of the model, in the graph that is exported, and in models that are made smaller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_federation import shaken, tiny_model, tiny_recipe

from client.cloning import voice_alone
from shared_models.errors import RecipeError
from shared_models.export.acoustic_graph import AcousticGraph
from shared_models.export.depth import cut
from shared_models.export.onnx_graph import export_acoustic
from shared_models.export.onnx_voice import ACOUSTIC, CONTROLS, VOICE
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


@pytest.mark.slow
def test_the_exported_graph_says_what_a_voice_with_weights_of_its_own_says(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    # A table, convolutions, matrices and norms; the exporter takes its time over each layer.
    sites = ["phonemes", "decoder"]
    model = shaken(tiny_model(tiny_recipe(speaker__personal="whole", speaker__layers=sites)))
    voice, phonemes = voice_alone(model), torch.tensor([[5, 9, 14, 7, 11]])
    export_acoustic(model.model.acoustic, tmp_path / ACOUSTIC)
    with torch.no_grad():
        expected, _ = model.model.synthesize(phonemes, torch.tensor([5]), voice)
    given = {f"{VOICE}{name}": tensor.numpy() for name, tensor in voice.tensors.items()}
    scale, shift = np.array(1.0, dtype=np.float32), np.array(0.0, dtype=np.float32)
    given |= dict(zip(CONTROLS, (phonemes.numpy(), np.array([5]), scale, shift), strict=True))
    mel, _ = onnxruntime.InferenceSession(tmp_path / ACOUSTIC).run(None, given)
    assert np.abs(mel - expected.numpy()).max() < 1e-4


def test_a_model_whose_layers_voices_change_is_not_made_smaller() -> None:
    recipe = tiny_recipe(speaker__personal="lora", model__decoder_layers=3)
    model = tiny_model(recipe).model
    with pytest.raises(RecipeError, match="cannot be pruned or distilled"):
        cut(model, recipe, recipe.override({"model.decoder_layers": 2}))
    with pytest.raises(RecipeError, match="export it as onnx or int8"):
        prune_acoustic(model, recipe, 16)
