"""A live device's private inner loop: the owner's noise and budget, the owner's one ledger, and what it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import features_of_tests, same, shaken, small_corpus, task_of, tiny_model, tiny_recipe

from client.home.device import Device
from client.home.ledger import Ledger
from client.home.owner_ledger import open_owner_ledger
from client.home.policy import Policy
from client.learning import dp_sgd
from client.learning.dp_sgd import PersonalDP, dp_sgd_steps
from client.rounds import device_training
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Phase
from shared_models.config import Recipe
from shared_models.errors import BudgetError
from simulations.preparation import make_devices, prepare

State = dict[str, torch.Tensor]


def recipe_of(corpus: Path, **changes: Any) -> Recipe:
    plain = {"corpus__path": str(corpus), "federation__cohort": 2, "federation__algorithm": "fedrep",
             "client__outer_steps": 1, "federation__rounds": 3, "aligner__learn": "never"}  # fmt: skip
    return tiny_recipe(**(plain | changes))


def private(corpus: Path, **changes: Any) -> Recipe:
    noise = {"personal_privacy__enabled": True, "personal_privacy__noise_multiplier": 2.0}
    return recipe_of(corpus, **(noise | changes))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("loop") / "corpus", train=2, test=1, utterances=6)


@pytest.fixture
def device(corpus: Path, tmp_path: Path) -> Device:
    data = prepare(recipe_of(corpus), features_of_tests())
    homes = make_devices(tmp_path / "devices", data.train, data.cache)
    return Device.open(sorted(homes.iterdir())[0])


@pytest.fixture
def model(corpus: Path) -> VoicePartition:
    return shaken(tiny_model(recipe_of(corpus)))


def trained(
    model: VoicePartition,
    device: Device,
    recipe: Recipe,
    run: str,
    round_number: int = 1,
    policy: Policy | None = None,
) -> State:
    """The personal set after a live round."""
    task = task_of(recipe, round_number, run=run, live=True)
    device_training.train_device(model, model.shared_vector().clone(), device, task, policy or Policy())
    return {name: tensor.clone() for name, tensor in model.personal_state().items()}


@pytest.fixture
def started_from(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The personal set with which each private inner loop begins."""
    seen: list[State] = []
    steps = device_training.private_steps

    def watched(phase: Phase, model: VoicePartition, *rest: Any, **how: Any) -> Any:
        seen.append({name: tensor.clone() for name, tensor in model.personal_state().items()})
        return steps(phase, model, *rest, **how)

    monkeypatch.setattr(device_training, "private_steps", watched)
    return seen


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[PersonalDP]:
    """What each DP-SGD is really run with."""
    seen: list[PersonalDP] = []

    def watched(module: Any, optimizer: Any, loss: Any, chosen: PersonalDP, **how: Any) -> Any:
        seen.append(chosen)
        return dp_sgd_steps(module, optimizer, loss, chosen, **how)

    monkeypatch.setattr(dp_sgd, "dp_sgd_steps", watched)
    return seen


def is_nobody(state: State) -> bool:
    return not any(bool(tensor.any()) for tensor in state.values())


def test_a_private_run_starts_from_zero_after_one_that_was_not(
    corpus: Path, device: Device, model: VoicePartition, started_from: list[State]
) -> None:
    unprotected = trained(model, device, recipe_of(corpus), "plain")
    assert not is_nobody(unprotected)
    trained(model, device, private(corpus), "private")
    assert is_nobody(started_from[0])


def test_a_run_whose_recipe_becomes_private_starts_from_zero(
    corpus: Path, device: Device, model: VoicePartition, started_from: list[State]
) -> None:
    trained(model, device, recipe_of(corpus), "run", 1)
    trained(model, device, private(corpus), "run", 2)
    assert is_nobody(started_from[0])


def test_a_private_run_goes_on_from_what_the_same_ledger_paid_for(
    corpus: Path, device: Device, model: VoicePartition, started_from: list[State]
) -> None:
    first = trained(model, device, private(corpus), "first", 1)
    assert not is_nobody(first)
    trained(model, device, private(corpus), "first", 2)
    assert same(started_from[1], first)
    second = {name: tensor.clone() for name, tensor in model.personal_state().items()}
    trained(model, device, private(corpus), "second", 1)
    assert same(started_from[2], second)
    # A round without privacy in between says more of the recordings than was paid for.
    trained(model, device, recipe_of(corpus), "second", 2)
    trained(model, device, private(corpus), "second", 3)
    assert not same(started_from[3], model.personal_state())
    third = device.load_personal("second", 2, paid_by=open_owner_ledger(None, 1e-3).identity)
    assert third is not None
    assert same(started_from[3], third)


def test_what_fedper_trains_is_not_taken_for_private(
    corpus: Path, device: Device, model: VoicePartition
) -> None:
    trained(model, device, private(corpus, federation__algorithm="fedper"), "fedper")
    assert device.load_personal("next", 1, paid_by=open_owner_ledger(None, 1e-3).identity) is None
    assert open_owner_ledger(None, 1e-3).history() == []


def test_a_live_inner_loop_is_entered_in_the_owners_ledger(
    corpus: Path, device: Device, model: VoicePartition
) -> None:
    trained(model, device, private(corpus), "run")
    (entry,) = open_owner_ledger(None, 1e-3).history()
    assert (entry.spend.purpose, entry.spend.unit, entry.spend.noise_multiplier) == (
        "inner loop",
        "utterance",
        2.0,
    )
    assert not device.ledger_path.exists() or Ledger(device.ledger_path, None, 1e-3).history() == []


def test_noise_is_at_least_the_owners(
    corpus: Path, device: Device, model: VoicePartition, settings: list[PersonalDP]
) -> None:
    weak = private(corpus, personal_privacy__noise_multiplier=0.001)
    generous = Policy(personal_epsilon=1000.0)
    trained(model, device, weak, "weak", policy=generous)
    assert settings[0].noise_multiplier == 0.5
    trained(model, device, weak, "strict", policy=Policy(personal_minimum_noise_multiplier=3.0))
    assert settings[1].noise_multiplier == 3.0
    # An epsilon far above the owner's is not what the noise is made for.
    greedy = private(corpus, personal_privacy__noise_multiplier=None, personal_privacy__epsilon=500.0)
    trained(
        model,
        device,
        greedy,
        "greedy",
        policy=Policy(personal_epsilon=30.0, personal_minimum_noise_multiplier=0.01),
    )
    modest = private(corpus, personal_privacy__noise_multiplier=None, personal_privacy__epsilon=30.0)
    trained(
        model,
        device,
        modest,
        "modest",
        policy=Policy(personal_epsilon=1000.0, personal_minimum_noise_multiplier=0.01),
    )
    assert settings[2].noise_multiplier == settings[3].noise_multiplier > 0.1


def test_the_budget_is_the_owners_over_all_runs_and_cloning(
    corpus: Path, device: Device, model: VoicePartition
) -> None:
    recipe = private(corpus, personal_privacy__noise_multiplier=1.5)
    trained(model, device, recipe, "one")
    cost = open_owner_ledger(None, 1e-3).spent()
    tight = Policy(personal_epsilon=1.1 * cost)
    before = open_owner_ledger(None, 1e-3).history()
    with pytest.raises(BudgetError, match="inner loop would bring"):
        trained(model, device, recipe, "two", policy=tight)
    assert open_owner_ledger(None, 1e-3).history() == before
    with pytest.raises(BudgetError):
        trained(model, device, recipe, "three", policy=Policy(personal_epsilon=0.1))
