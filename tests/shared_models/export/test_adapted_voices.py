"""Voices that change layers of the model, in an exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_federation import shaken, tiny_model, tiny_recipe

from client.cloning import voice_alone
from client.profile import VoiceProfile, save_profile
from shared_models.errors import RecipeError
from shared_models.export.depth import cut
from shared_models.export.onnx_voice import OnnxVoice
from shared_models.export.pruning import prune_acoustic
from shared_models.export.voice_folder import write_voice
from shared_models.partition import weights_hash
from shared_models.vocoders.vocos import Vocos, VocosDimensions

ALL_THAT_CHANGE = "lora+adapters+masks+whole"


def test_an_exported_voice_speaks_as_the_model_does_with_every_change_in_it(tmp_path: Path) -> None:
    # Every kind of change at every kind of layer, at few places: tracing is slow.
    # Every kind of change at every kind of layer, at few places: tracing is slow.
    recipe = tiny_recipe(
        speaker__personal=ALL_THAT_CHANGE, speaker__layers=["variance", "decoder.feed_forward"]
    )
    model = shaken(tiny_model(recipe))
    base, default = weights_hash(model.shared_vector()), voice_alone(model)
    vocos = Vocos(VocosDimensions(width=16, hidden=32, blocks=1))
    write_voice(
        tmp_path / "onnx", model.model.acoustic, vocos, default, form="onnx", base=base, vocoder="vocos"
    )
    weights = model.shared_vector()
    shaken(model, 0.3).load_shared_vector(weights)
    other = voice_alone(model)
    save_profile(tmp_path / "me", VoiceProfile(other, base, "me"))
    exported = OnnxVoice(tmp_path / "onnx")
    assert any(name.startswith("whole/") for name in exported.speaker)
    fresh = shaken(tiny_model(recipe)).model.eval()
    phonemes = torch.tensor([[5, 9, 14, 7, 11], [8, 3, 2, 0, 0]])
    lengths = torch.tensor([5, 3])
    for speaker, voice in ((None, default), (exported.voice(tmp_path / "me"), other)):
        with torch.no_grad():
            expected, counts = fresh.synthesize(phonemes, lengths, voice)
        mel, frames = exported.mel(phonemes.numpy(), lengths.numpy(), speaker=speaker)
        assert frames.tolist() == counts.tolist()
        assert np.abs(mel - expected.numpy()).max() < 1e-3


def test_a_model_whose_layers_voices_change_is_not_made_smaller() -> None:
    recipe = tiny_recipe(speaker__personal="lora", model__decoder_layers=3)
    model = tiny_model(recipe).model
    with pytest.raises(RecipeError, match="cannot be pruned or distilled"):
        cut(model, recipe, recipe.override({"model.decoder_layers": 2}))
    with pytest.raises(RecipeError, match="export it as onnx or int8"):
        prune_acoustic(model, recipe, 16)
