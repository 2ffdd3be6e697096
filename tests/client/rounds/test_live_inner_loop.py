"""A federated device whose own voice is trained by DP-SGD: its noise, its coins, and what all rounds cost together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message
from independence import most_correlated
from live_device import Made, ask, bytes_of, device_of, question

from client.home.device import Device
from client.home.owner_ledger import open_owner_ledger
from client.learning.cached_features import CachedFeatures
from shared_models.config import Recipe

ROUNDS, EPSILON, DELTA = 3, 6.0, 1e-3
PERSONAL = {
    "personal_privacy__enabled": True,
    "personal_privacy__epsilon": EPSILON,
    "personal_privacy__delta": DELTA,
    "privacy__noise_multiplier": 4.0,
    "federation__rounds": ROUNDS,
    "client__inner_steps": 16,
}
pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return device_of(tmp_path_factory.mktemp("private"), **PERSONAL)


def answered(home: Path, recipe: Recipe, number: int = 1) -> Message:
    return ask(home, question(recipe, number))


def voice(home: Path) -> torch.Tensor:
    """The personal set after the first round, as one vector."""
    paid_by = open_owner_ledger(None, DELTA).identity
    state = Device.open(home).load_personal("run", 2, paid_by=paid_by)
    assert state is not None
    return torch.cat([state[name].flatten() for name in sorted(state)])


def test_two_live_answers_to_one_question_differ_in_noise_and_coins(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sent the recipe knows its seed: with it, noise could be taken off and coins be foretold.

    Two equal throws of all coins, each of 1/2 or 2/3 for at least 3 utterances in 16 steps, come once in 10^11 at most.
    """
    read = CachedFeatures.__getitem__
    reads: dict[str, list[int]] = {}

    def noted(self: Any, index: Any) -> Any:
        reads[name].append(index)
        return read(self, index)

    monkeypatch.setattr(CachedFeatures, "__getitem__", noted)
    voices, updates = [], []
    for name in ("a", "b", "c"):
        reads[name] = []
        home = tmp_path / name
        shutil.copytree(made[0], home)
        updates.append(bytes_of(answered(home, made[1])))
        voices.append(voice(home))
    assert len({tuple(indices) for indices in reads.values()}) == 3, "the same utterances were drawn"
    assert len(set(updates)) == 3
    moved = torch.stack(voices).double()
    assert bool((moved != 0).any(1).all()), "the voices were not trained"
    assert not any(torch.equal(moved[i], moved[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_the_noise_in_a_live_voice_is_its_own(made: Made, tmp_path: Path) -> None:
    """One step that says next to nothing of the recordings: what moves the voice is the noise, drawn anew."""
    drowned = made[1].override(
        {
            "personal_privacy.epsilon": None,
            "personal_privacy.noise_multiplier": 1e4,
            "client.inner_steps": 1,
        }
    )
    voices = []
    for name in ("a", "b", "c", "d"):
        home = tmp_path / name
        shutil.copytree(made[0], home)
        bytes_of(answered(home, drowned))
        voices.append(voice(home))
    moved = torch.stack(voices).double()
    assert bool((moved != 0).all())
    # Adam's first step keeps the signs alone: those of four voices agree by chance only.
    signs = moved.sign() + 1e-3 * torch.rand(moved.shape, dtype=torch.float64)
    assert most_correlated(signs) < 1


def test_the_recipes_epsilon_holds_over_all_rounds(made: Made, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(made[0], home)
    spent = []
    for number in range(1, ROUNDS + 1):
        bytes_of(answered(home, made[1], number))
        spent.append(open_owner_ledger(None, DELTA, home=home).spent("utterance"))
    assert spent == sorted(spent)
    assert 0.95 * EPSILON < spent[-1] <= EPSILON, "one round's noise would cost more, a run's no less"
