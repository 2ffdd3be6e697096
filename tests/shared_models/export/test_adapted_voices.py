"""Voices that change layers of the model, in the graph that is exported, and in models that are made smaller."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_voice import BASE, exported
from safetensors.torch import save_file
from tiny_federation import shaken, tiny_model, tiny_recipe

from client.cloning import voice_alone
from client.profile import VoiceProfile, save_profile
from shared_models.errors import RecipeError
from shared_models.export.acoustic_graph import AcousticGraph
from shared_models.export.depth import cut
from shared_models.export.onnx_graph import export_acoustic
from shared_models.export.onnx_voice import ACOUSTIC, SPEAKER, OnnxVoice
from shared_models.export.pruning import prune_acoustic
from shared_models.speakers.adaptation import ADAPTATIONS, NOTHING
from shared_models.speakers.voice import Voice

EXTRA = "SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'"


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in ADAPTATIONS if kind != NOTHING])
@torch.no_grad()
def test_an_exported_voice_speaks_as_the_model_does_whatever_was_adapted(kind: str, tmp_path: Path) -> None:
    """The folder that ``fedvoice export`` writes, and a profile of the same kind, by ONNX Runtime alone."""
    pytest.importorskip("onnxruntime", reason=EXTRA)
    pytest.importorskip("onnxscript", reason=EXTRA)
    model = shaken(tiny_model(tiny_recipe(speaker__personal=kind)))
    voice = voice_alone(model)
    # Vocoder, mark and description are those of any export.
    folder = shutil.copytree(exported()[0], tmp_path / "voice")
    export_acoustic(model.model.acoustic, folder / ACOUSTIC)
    save_file(dict(voice.tensors), folder / SPEAKER, {"base": BASE})
    with_changes = OnnxVoice(folder)
    assert set(with_changes.speaker) == {declared.name for declared in model.model.takes}
    phonemes = torch.tensor([[5, 9, 14, 7, 11, 3]])
    expected, frames = model.model.synthesize(phonemes, torch.tensor([6]), voice)
    mel, lengths = with_changes.mel(phonemes.numpy())
    assert lengths.tolist() == frames.tolist()
    assert np.abs(mel - expected.numpy()).max() < 1e-4
    # Another voice of the kind comes from its profile, and sounds otherwise.
    other = Voice({name: tensor + 0.05 for name, tensor in voice.tensors.items()})
    profile = tmp_path / "other.voice.safetensors"
    save_profile(profile, VoiceProfile(other, BASE, "other", adaptation={"personal": kind}))
    expected, _ = model.model.synthesize(phonemes, torch.tensor([6]), other)
    found, _ = with_changes.mel(phonemes.numpy(), speaker=with_changes.voice(profile))
    assert np.abs(found - expected.numpy()).max() < 1e-4
    assert found.shape != mel.shape or np.abs(found - mel).max() > 1e-3
