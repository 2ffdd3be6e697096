"""How unseen speakers are cloned for the table: under personal privacy, by DP-SGD and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_federation import random_speech, shaken, tiny_model, tiny_recipe

from client import cloning
from shared_models.config import Recipe
from simulations.evaluation.unseen_speakers import clone_and_speak


def recipe_of(**changes: Any) -> Recipe:
    return tiny_recipe(**({"aligner__learn": "never", "cloning__steps": 2} | changes))


def spoken(recipe: Recipe, speaker: str = "ada") -> dict[str, Any]:
    support, query = random_speech(4), random_speech(1, seed=9)
    model = shaken(tiny_model(recipe))
    return clone_and_speak(model, recipe, support, [("a text", query[0].phonemes)], speaker)


PRIVATE = {"personal_privacy__enabled": True, "personal_privacy__noise_multiplier": 1.0}


def test_private_clones_are_made_by_dp_sgd_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    def listened(*_: Any, **__: Any) -> None:
        heard.append("without noise")

    monkeypatch.setattr(cloning, "take_phase", listened)
    monkeypatch.setattr(cloning, "voice_of", listened)
    clips = spoken(recipe_of(**PRIVATE))
    assert list(clips) == ["before", "after"]
    assert not heard
    assert not torch.equal(clips["before"][0].mel, clips["after"][0].mel)


def test_a_simulations_private_clones_repeat_and_differ_by_speaker() -> None:
    recipe = recipe_of(**PRIVATE)
    first, again, other = spoken(recipe), spoken(recipe), spoken(recipe, "bea")
    assert torch.equal(first["after"][0].mel, again["after"][0].mel)
    assert not torch.equal(first["after"][0].mel, other["after"][0].mel)


def test_without_privacy_every_way_is_heard() -> None:
    assert list(spoken(recipe_of())) == ["before", "zero_shot", "after"]
