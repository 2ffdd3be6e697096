"""Three rounds of every recipe of meta-learning: what is sent, what stays, and that a newcomer's voice speaks.

Devices answer through the wire and their personal sets through files, with the recipe's model made small.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from three_rounds import speaks_from_its_file
from tiny_federation import TINY, random_speech, same, task_of

from client.learning.local_round import local_round
from client.learning.material import Material
from shared_models import wire
from shared_models.config import Recipe
from shared_models.federated_model import federated_voice_model
from shared_models.partition import Owner
from shared_models.recipes import find_recipe

RECIPES = ("maml", "fomaml", "anil", "reptile", "meta_tts", "meta_tts_personal")
KEEP_THEIR_VOICES = ("reptile", "meta_tts_personal")
"""Those after whose rounds a device has a voice of its own: in the others it adapts beside layers that are put back."""
SMALL = {name: value for name, value in TINY.items() if name.split(".")[0] in ("model", "cloning")}


def small(name: str) -> Recipe:
    changes = {"client.inner_steps": 1, "client.window_frames": 64, "client.batch_size": 2}
    return find_recipe(name).override(SMALL | changes | {"aligner.learn": "never"})


@pytest.mark.parametrize("name", RECIPES)
def test_three_rounds_train_it_and_only_the_shared_set_is_sent(name: str, tmp_path: Path) -> None:
    recipe = small(name)
    model = federated_voice_model(recipe)
    weights, first, begun = model.shared_vector(), model.shared_vector(), model.personal_state()
    kept: dict[int, bytes] = {}
    for number in (1, 2, 3):
        updates = []
        for member in (0, 1):
            material = Material.split(random_speech(5, seed=member), 0.4)
            done = local_round(model, weights, material, task_of(recipe, number, member))
            header, buffer = wire.encode(model, done.update)
            assert set(header) & set(begun) == set()
            assert len(bytes(buffer)) == 4 * model.partition.size, "the shared set and nothing else"
            kept[member] = save(model.personal_state())
            assert torch.isfinite(torch.tensor(done.losses["inner"] + done.losses["outer"])).all()
            updates.append(wire.decode(header, buffer, model.partition, kind="update").vector.clone())
        assert not torch.equal(*updates)
        weights = weights + torch.stack(updates).mean(0)
    assert bool(torch.isfinite(weights).all())
    assert not torch.equal(weights, first)
    shared = {tensor.name for tensor in model.partition.shared}
    assert shared.isdisjoint(model.partition.names(Owner.PERSONAL))
    assert same(load(kept[0]), begun) == (name not in KEEP_THEIR_VOICES)
    cloned = speaks_from_its_file(recipe, weights, tmp_path / "me.voice.safetensors")
    newcomers = federated_voice_model(recipe.for_cloning()).personal_state()
    assert not same(cloned.personal_state(), newcomers), "a newcomer adapts"
