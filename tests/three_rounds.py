"""Three rounds of a recipe on two devices, through the wire and files: what is sent, what stays, who speaks then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from tiny_federation import TINY, random_speech, task_of
from torch import Tensor

from client.cloning import adapt
from client.learning.local_round import local_round
from client.learning.material import Material
from client.profile import VoiceProfile, load_profile, save_profile
from shared_models import wire
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.federated_model import federated_voice_model
from shared_models.partition import Owner, weights_hash
from shared_models.recipes import find_recipe

Speech = Callable[[int, int], Sequence[Features]]
"""So many utterances of the speaker of that number."""
SMALL = {name: value for name, value in TINY.items() if name.split(".")[0] in ("model", "client", "cloning")}


def small_paper(name: str, **changes: Any) -> Recipe:
    """A recipe that ships, with its model made small; a double underscore in a name stands for the dot."""
    chosen = {path.replace("__", "."): value for path, value in changes.items()}
    return find_recipe(name).override(SMALL | {"aligner.learn": "never", "client.batch_size": 2} | chosen)


def three_rounds(recipe: Recipe, speech: Speech = random_speech) -> Tensor:
    """The shared weights ``(D,)`` after three rounds, in which nothing but the shared set was sent, and all moved."""
    model = federated_voice_model(recipe)
    weights, first = model.shared_vector(), model.shared_vector()
    begun = model.personal_state()
    kept: dict[int, bytes] = {}
    for number in (1, 2, 3):
        updates = []
        for member in (0, 1):
            if member in kept:
                model.load_personal_state(load(kept[member]))
            else:
                model.reset_personal()
            material = Material.split(speech(5, member), 0.4)
            done = local_round(model, weights, material, task_of(recipe, number, member))
            header, buffer = wire.encode(model, done.update)
            assert set(header) & set(model.personal_state()) == set()
            assert len(bytes(buffer)) == 4 * model.partition.size, "the shared set and nothing else"
            kept[member] = save(model.personal_state())
            updates.append(wire.decode(header, buffer, model.partition, kind="update").vector.clone())
        weights = weights + torch.stack(updates).mean(0)
    assert bool(torch.isfinite(weights).all())
    assert not torch.equal(weights, first)
    shared = {tensor.name for tensor in model.partition.shared}
    assert shared.isdisjoint(model.partition.names(Owner.PERSONAL))
    for member in kept:
        own = load(kept[member])
        assert set(own) == set(begun)
        assert all(not torch.equal(own[tensor], begun[tensor]) for tensor in own)
    return weights


def speaks_from_its_file(
    recipe: Recipe, weights: Tensor, path: Path, speech: Speech = random_speech
) -> VoicePartition:
    """A voice that is cloned on ``weights`` speaks from its file on a fresh model as it did before.

    The model is the one that it was cloned on.
    """
    newcomers = recipe.for_cloning()
    model, fresh = federated_voice_model(newcomers), federated_voice_model(newcomers)
    for one in (model, fresh):
        one.load_shared_vector(weights)
    base = weights_hash(weights)
    made = adapt(model, speech(3, 9), recipe)
    save_profile(path, VoiceProfile(made, base, "me"))
    voice = load_profile(path, base=base).voice
    phonemes, lengths = torch.tensor([[5, 9, 14, 7]]), torch.tensor([4])
    with torch.no_grad():
        spoken, _ = fresh.model.eval().synthesize(phonemes, lengths, voice)
        expected, _ = model.model.eval().synthesize(phonemes, lengths, made)
    assert bool(torch.isfinite(spoken).all())
    assert torch.equal(spoken, expected)
    return model
