"""A shared style on a frozen base: it alone is sent, everything else is the base's, and a new style does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from three_rounds import small_paper, speaks_from_its_file, three_rounds
from tiny_federation import in_float64, random_speech, shaken, tiny_model, tiny_recipe
from torch import Tensor, nn

from client.cloning import adapt
from client.home.policy import Policy
from client.learning.dp_sgd import make_private
from client.learning.private_adaptation import only_personal_trains
from shared_models.base_model import BaseModel, load_base, packaged_base, write_base
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.export.acoustic_graph import AcousticGraph
from shared_models.export.pruning import prune_acoustic
from shared_models.features import collate
from shared_models.federated_model import federated_voice_model
from shared_models.layers.voiced import apply_layer, change
from shared_models.losses import acoustic_loss
from shared_models.partition import Owner, weights_hash
from shared_models.recipes import find_recipe
from shared_models.speakers.heard import Heard
from shared_models.speakers.shared_style import STYLE, StyleFactors, with_style

SIZES: dict[str, Any] = {"model__source": "harmonics", "model__durations": "mean", "aligner__learn": "never"}
PHONEMES, LENGTHS = torch.tensor([[5, 9, 14, 7, 21, 11]]), torch.tensor([6])


def base_file(folder: Path, seed: int = 7) -> Path:
    """A small base whose weights hide nothing."""
    recipe = tiny_recipe(seed=seed, **SIZES)
    model = shaken(tiny_model(recipe))
    path = folder / f"base-{seed}.safetensors"
    write_base(path, BaseModel(model, recipe, weights_hash(model.shared_vector())))
    return path


def on_base(path: Path, **changes: Any) -> Recipe:
    return small_paper("fed_pisa", model__frozen=str(path), **changes)


def spoken(model: Any) -> Tensor:
    own = Heard(torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        mel: Tensor = model.model.eval().synthesize(PHONEMES, LENGTHS, model.model.voice(own))[0]
    return mel


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv1d(6, 5, 3, padding=1)], ids=["linear", "conv"])
@torch.no_grad()
def test_a_style_is_the_layer_with_the_product_added_to_its_weights(layer: nn.Module) -> None:
    layer = layer.double()
    weight, bias = layer.get_parameter("weight").clone(), layer.get_parameter("bias")
    factors = StyleFactors("here", layer, 2).double()
    for parameter in factors.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(1))
    layer.add_module(STYLE, factors)
    change(layer, with_style)
    x = torch.randn(2, 6, 9).double() if isinstance(layer, nn.Conv1d) else torch.randn(2, 9, 6).double()
    changed = weight + (factors.up @ factors.down).view_as(weight)
    expected = (
        F.conv1d(x, changed, bias, padding=1) if isinstance(layer, nn.Conv1d) else F.linear(x, changed, bias)
    )
    torch.testing.assert_close(apply_layer(layer, x, {}), expected, rtol=1e-10, atol=1e-10)


def test_the_style_alone_is_shared_and_all_else_is_the_bases(tmp_path: Path) -> None:
    path = base_file(tmp_path)
    base = load_base(path).model
    model = federated_voice_model(on_base(path))
    assert {name.rsplit(".", 2)[1] for name in (t.name for t in model.partition.shared)} == {STYLE}
    # Of the decoder (1 block, H = 16, filter 32, kernel 3) and the mel projection, with rank 4.
    assert model.partition.size == 4 * (4 * 32 + (48 + 32) + (32 + 16) + (16 + 80))
    theirs = base.model.state_dict()
    frozen = model.partition.names(Owner.FROZEN)
    assert set(frozen) == {tensor.name for tensor in base.partition.shared}
    own = model.model.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in frozen)
    assert torch.equal(spoken(model), spoken(base))
    other = federated_voice_model(on_base(base_file(tmp_path, seed=8)))
    assert other.partition.schema != model.partition.schema
    assert torch.equal(other.shared_vector(), model.shared_vector())


def test_three_rounds_send_the_style_and_leave_the_base_as_it_is(tmp_path: Path) -> None:
    recipe = on_base(base_file(tmp_path))
    weights = three_rounds(recipe)
    model = federated_voice_model(recipe)
    before = spoken(model)
    model.load_shared_vector(weights)
    assert not torch.allclose(spoken(model), before, atol=1e-4)
    speaks_from_its_file(recipe, weights, tmp_path / "me.voice.safetensors")
    kept = BaseModel(model, recipe, weights_hash(weights))
    write_base(tmp_path / "trained.safetensors", kept)
    again = load_base(tmp_path / "trained.safetensors")
    assert again.hash == kept.hash
    assert torch.equal(spoken(again.model), spoken(model))


def test_gradients_of_a_private_identity_are_those_of_a_loop(tmp_path: Path) -> None:
    model = federated_voice_model(on_base(base_file(tmp_path)))
    shaken(model)
    model.model.double().eval()
    personal, own = only_personal_trains(model), model.personal_parameters()
    utterances = random_speech(3)

    def losses(chosen: list[int]) -> Tensor:
        batch = in_float64(collate([utterances[index] for index in chosen], references=None))
        return acoustic_loss(model.model(batch), batch, per_utterance=True).total

    alone = [torch.autograd.grad(losses([index]).sum(), own) for index in range(3)]
    hooked, _ = make_private(
        personal, torch.optim.SGD(own, lr=1.0), noise_multiplier=1.0, clipping_norm=1.0, expected_batch=3,
        generator=None,
    )  # fmt: skip
    torch.autograd.backward(losses([0, 1, 2]).sum())
    for position, parameter in enumerate(own):
        found = parameter.grad_sample  # type: ignore[attr-defined]
        for index in range(3):
            torch.testing.assert_close(found[index], alone[index][position], rtol=1e-5, atol=1e-8)
    assert any(bool(gradient.any()) for gradient in alone[0])
    hooked.to_standard_module()


def test_the_recipe_stands_on_the_base_that_ships() -> None:
    model = federated_voice_model(find_recipe("fed_pisa").override({"aligner.learn": "never"}))
    base = packaged_base().model
    assert torch.equal(spoken(model), spoken(base))
    assert (model.partition.size, base.partition.size) == (41_792, 3_507_638)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.style_rank": 0}, r"leaves nothing to share: raise model\.style_rank"),
        ({"aligner.warmup_rounds": 2}, r"aligner\.warmup_rounds would train the aligner"),
    ],
)
def test_a_frozen_base_with_nothing_to_train_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        find_recipe("fed_pisa").override(changes)


def test_a_base_of_other_sizes_and_a_place_on_the_device_are_refused(tmp_path: Path) -> None:
    path = base_file(tmp_path)
    with pytest.raises(RecipeError, match=r"model\.frozen '.*' has no shared tensor"):
        federated_voice_model(on_base(path, model__hidden=24))
    everybody = Policy(modes=("none",))
    assert everybody.refusal(find_recipe("fed_pisa")) is None
    assert "a place on this device" in str(everybody.refusal(on_base(path)))
    assert on_base(path).without_folders().model.frozen == path.name


def test_the_graph_that_is_exported_says_what_the_model_says(tmp_path: Path) -> None:
    recipe = on_base(base_file(tmp_path))
    model = federated_voice_model(recipe)
    model.load_shared_vector(model.shared_vector() + 0.1)
    voice = adapt(model, random_speech(3), recipe)
    with torch.no_grad():
        expected, counts = model.model.eval().synthesize(PHONEMES, LENGTHS, voice)
        mel, frames = AcousticGraph(model.model.acoustic)(
            PHONEMES, LENGTHS, dict(voice.tensors), torch.tensor(1.0), torch.tensor(0.0)
        )
    assert torch.equal(frames, counts)
    torch.testing.assert_close(mel, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(RecipeError, match="export it as onnx or int8"):
        prune_acoustic(model.model, recipe, 16)
