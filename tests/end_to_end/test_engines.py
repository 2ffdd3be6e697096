"""The same seeds, the same weights: on one worker, on two, and on Flower's own engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_federation import features_of_tests, small_corpus, tiny_recipe
from torch import Tensor

from client.app import DEVICES_VARIABLE
from server.app import make_app, plan_for
from server.checkpoints import latest_checkpoint
from shared_models.config import EngineConfig
from simulations.engine import run_federation
from simulations.preparation import Prepared, make_devices, prepare

pytestmark = pytest.mark.slow
CLIENTS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = small_corpus(tmp_path_factory.mktemp("corpus"), train=CLIENTS, utterances=4)
    recipe = tiny_recipe(
        corpus__path=str(root), federation__rounds=2, federation__cohort=2, model__dropout=0.2
    )
    return prepare(recipe, features_of_tests())


def trained(data: Prepared, folder: Path, engine: EngineConfig) -> Tensor:
    plan = plan_for(data.recipe, folder / "checkpoints", "run", CLIENTS, seeded_noise=True)
    devices = make_devices(folder / "devices", data.train, data.cache)
    run_federation(
        make_app(plan), engine=engine, clients=CLIENTS, environment={DEVICES_VARIABLE: str(devices.resolve())}
    )
    last = latest_checkpoint(folder / "checkpoints")
    assert last is not None
    assert last.round == 2
    assert not torch.equal(last.weights, plan.initial)
    return last.weights


@pytest.fixture(scope="module")
def one_worker(data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return trained(data, tmp_path_factory.mktemp("one"), EngineConfig(workers=1))


def test_two_workers_train_the_same_weights_as_one(
    data: Prepared, one_worker: Tensor, tmp_path: Path
) -> None:
    assert torch.equal(trained(data, tmp_path, EngineConfig(workers=2)), one_worker)


def test_flowers_engine_trains_the_same_weights(data: Prepared, one_worker: Tensor, tmp_path: Path) -> None:
    theirs = trained(data, tmp_path, EngineConfig(kind="ray", workers=2))
    assert (theirs - one_worker).abs().max() <= 1e-6
    assert torch.equal(theirs, one_worker), "closer than asked for: the sums are exact"
