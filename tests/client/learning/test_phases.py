"""Which parameters a phase moves, and how."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_federation import personal_copy, random_speech, same, shaken, tiny_model, tiny_recipe

from client.learning.phases import optimizer_of, take_phase
from shared_models.algorithms import ALGORITHMS
from shared_models.algorithms.algorithm import Moves, Phase, Utterances
from shared_models.algorithms.cloning import CLONING
from shared_models.algorithms.fedrep import FEDREP
from shared_models.seeds import generator

PLAIN: dict[str, Any] = {"aligner__learn": "never", "model__dropout": 0.0}


def test_fedreps_inner_phase_moves_the_personal_set_only_and_its_outer_one_the_shared_only() -> None:
    recipe = tiny_recipe(client__inner_steps=3, **PLAIN)
    model = shaken(tiny_model(recipe))
    utterances, rng = random_speech(5), generator(3)
    weights, personal = model.shared_vector(), personal_copy(model)
    assert FEDREP.inner is not None
    assert len(take_phase(FEDREP.inner, model, utterances, recipe, rng)) == 3
    assert torch.equal(model.shared_vector(), weights)
    moved = personal_copy(model)
    assert all(not torch.equal(moved[name], personal[name]) for name in personal)
    assert len(take_phase(FEDREP.outer, model, utterances, recipe, rng, round_number=1)) == 2
    assert same(model.personal_state(), moved)
    assert not torch.equal(model.shared_vector(), weights)


@pytest.mark.parametrize("moves", Moves)
def test_what_a_phase_does_not_move_gets_no_gradient(moves: Moves) -> None:
    recipe = tiny_recipe(**PLAIN)
    model = shaken(tiny_model(recipe))
    phase = Phase(moves=moves, material=Utterances.ALL, steps=lambda _: 1)
    take_phase(phase, model, random_speech(4), recipe, generator(1), round_number=1)
    assert all((p.grad is not None) == moves.shared for p in model.shared_parameters() if p.requires_grad)
    assert {p.requires_grad for p in model.shared_parameters()} == {moves.shared}
    assert {p.requires_grad for p in model.personal_parameters()} == {moves.personal}


def test_shared_and_personal_parameters_have_rates_of_their_own() -> None:
    recipe = tiny_recipe(client__inner_lr=0.5, client__outer_lr=0.25, federation__rounds=10, **PLAIN)
    model = tiny_model(recipe)
    groups = optimizer_of(ALGORITHMS["fedper"].outer, model, recipe, 1).param_groups
    assert [group["lr"] for group in groups] == [0.25, 0.5]
    assert [len(group["params"]) for group in groups] == [
        len(model.shared_parameters()), len(model.personal_parameters())
    ]  # fmt: skip
    late = optimizer_of(ALGORITHMS["fedper"].outer, model, recipe, 10).param_groups
    assert [group["lr"] for group in late] == [0.25 * 0.05, 0.5]


def test_cloning_and_the_inner_phase_are_by_adam_whatever_the_outer_loop_is() -> None:
    recipe = tiny_recipe(client__outer_optimizer="sgd", **PLAIN)
    model = tiny_model(recipe)
    assert FEDREP.inner is not None
    kinds = [type(optimizer_of(phase, model, recipe, 1)) for phase in (FEDREP.outer, FEDREP.inner, CLONING)]
    assert kinds == [torch.optim.SGD, torch.optim.Adam, torch.optim.Adam]
