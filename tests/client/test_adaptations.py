"""Every way to adapt: a voice begins at its own start, and all of it trains, with DP-SGD and without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_federation import (
    personal_copy,
    random_speech,
    same,
    shaken,
    task_of,
    tiny_model,
    tiny_recipe,
)

from client.cloning import adapt, adapt_privately, voice_of_nobody, zero_shot
from client.home.ledger import Ledger
from client.learning.private_adaptation import private_steps
from shared_models.algorithms.cloning import CLONING
from shared_models.config import Recipe
from shared_models.errors import PrivacyError
from shared_models.layers.sequences import valid_steps
from shared_models.speakers.adaptation import ADAPTATIONS, NOTHING

SOURCES = [["table", "mel_style"], ["mel_style"]]
TRAINED = sorted(set(ADAPTATIONS) - {NOTHING})


def recipe_of(adaptation: str, sources: list[str] | None = None) -> Recipe:
    return tiny_recipe(
        speaker__personal=adaptation,
        speaker__sources=sources or SOURCES[0],
        cloning__steps=3,
        personal_privacy__enabled=True,
        personal_privacy__noise_multiplier=1.0,
    )


@pytest.mark.parametrize("sources", SOURCES, ids=str)
@pytest.mark.parametrize("adaptation", sorted(ADAPTATIONS))
def test_starting_anew_gives_the_voice_that_a_model_is_made_with(adaptation: str, sources: list[str]) -> None:
    made = tiny_model(recipe_of(adaptation, sources)).personal_state()
    model = shaken(tiny_model(recipe_of(adaptation, sources)))
    assert not any(torch.equal(tensor, made[name]) for name, tensor in model.personal_state().items())
    shared = model.shared_vector()
    model.reset_personal()
    assert same(model.personal_state(), made)
    assert torch.equal(model.shared_vector(), shared)


@pytest.mark.parametrize("adaptation", sorted(ADAPTATIONS))
def test_the_voice_of_nobody_speaks_and_does_not_hum_one_note(adaptation: str) -> None:
    model = shaken(tiny_model(recipe_of(adaptation)))
    phonemes = torch.tensor([[5, 9, 14, 7, 21, 11]])
    with torch.no_grad():
        mel, lengths = model.model.synthesize(phonemes, torch.tensor([6]), voice_of_nobody(model))
    heard = mel[valid_steps(lengths, mel.shape[1])]
    assert float(heard.std(0).min()) > 1e-3


@pytest.mark.parametrize("adaptation", TRAINED)
def test_adapting_moves_every_personal_parameter_and_nothing_shared(adaptation: str) -> None:
    recipe = recipe_of(adaptation)
    model = shaken(tiny_model(recipe))
    shared = model.shared_vector()
    voice_of_nobody(model)
    start = personal_copy(model)
    adapt(model, random_speech(5), recipe)
    assert all(not torch.equal(tensor, start[name]) for name, tensor in model.personal_state().items())
    assert torch.equal(model.shared_vector(), shared)


@pytest.mark.parametrize("adaptation", TRAINED)
def test_private_adapting_trains_and_noises_every_personal_parameter(adaptation: str, tmp_path: Path) -> None:
    recipe = recipe_of(adaptation)
    model = shaken(tiny_model(recipe))
    shared = model.shared_vector()
    voice_of_nobody(model)
    start = personal_copy(model)
    adapt_privately(model, random_speech(5), recipe, Ledger(tmp_path / "ledger.sqlite", None, 1e-3))
    for name, tensor in model.personal_state().items():
        # Noise reaches each number of each of them, also where the gradient is 0.
        assert bool((tensor != start[name]).all()), name
    assert torch.equal(model.shared_vector(), shared)


def test_where_nothing_is_trained_a_voice_is_what_is_heard_and_dp_sgd_is_refused(tmp_path: Path) -> None:
    recipe, ledger = recipe_of(NOTHING), Ledger(tmp_path / "ledger.sqlite", None, 1e-3)
    model = shaken(tiny_model(recipe))
    heard = zero_shot(model, random_speech(5))
    adapted = adapt(model, random_speech(5), recipe)
    assert all(torch.equal(adapted[name], heard[name]) for name in heard)
    with pytest.raises(PrivacyError, match="nothing for DP-SGD to protect"):
        adapt_privately(model, random_speech(5), recipe, ledger)
    assert ledger.spent_protected() == 0
    bare = tiny_model(recipe_of(NOTHING, ["mel_style"]))
    assert bare.personal_state() == {}
    with pytest.raises(PrivacyError, match="nothing for DP-SGD to protect"):
        private_steps(
            CLONING, bare, random_speech(5), task_of(recipe), book=ledger, purpose="test", generator=None
        )
