"""The device's Flower app: what it sends is clipped, and what goes wrong on it stays on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from tiny_federation import features_of_tests, small_corpus, tiny_model, tiny_recipe

from client import app as device_app
from client.home.device import Device
from shared_models import wire
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.config import Recipe
from shared_models.errors import BudgetError, CorpusError, FedVoiceError, StorageError
from simulations.preparation import make_devices, prepare

SECRET = "recordings/alice-smith/diary.wav"


@pytest.fixture(autouse=True)
def _an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    # Flower gives every process that makes messages one.
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def recipe_of(corpus: Path, **changes: Any) -> Recipe:
    plain = {"corpus__path": str(corpus), "client__outer_steps": 1, "federation__cohort": 2}
    return tiny_recipe(**(plain | changes))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("app") / "corpus", train=2, test=1, utterances=6)


@pytest.fixture
def home(corpus: Path, tmp_path: Path) -> Path:
    data = prepare(recipe_of(corpus), features_of_tests())
    return make_devices(tmp_path / "devices", data.train, data.cache)


def ask(recipe: Recipe, model: VoicePartition, devices: Path) -> Message:
    header, buffer = wire.encode_weights(wire.Weights(model.partition.schema, 1, model.shared_vector()))
    record = ConfigRecord({**header, "recipe": recipe.model_dump_json(), "run": "run"})
    array = Array(wire.DTYPE, (model.partition.size,), wire.STYPE, bytes(buffer))
    content = RecordDict({"header": record, "shared": ArrayRecord({"shared": array})})
    message = Message(content, dst_node_id=1, message_type="train", group_id="1")
    context = Context(1, 1, {"partition-id": 0, "num-partitions": 2}, RecordDict(), {"devices": str(devices)})
    return device_app.app(message, context)


def prepared(corpus: Path, **changes: Any) -> tuple[Recipe, VoicePartition]:
    recipe = recipe_of(corpus, **changes)
    recipe = prepare(recipe, features_of_tests()).recipe
    return recipe, tiny_model(recipe)


def update_in(reply: Message) -> torch.Tensor:
    return torch.frombuffer(
        bytearray(reply.content.array_records["shared"]["shared"].data), dtype=torch.float32
    )


def test_an_update_is_clipped_under_central_privacy_and_only_then(corpus: Path, home: Path) -> None:
    free = update_in(ask(*prepared(corpus), home))
    assert free.norm() > 0.02
    private = {"privacy__mode": "central", "privacy__noise_multiplier": 1.0, "privacy__clipping_norm": 0.01}
    clipped = update_in(ask(*prepared(corpus, **private, federation__sampling="poisson"), home))
    assert 0.0099 < clipped.double().norm() <= 0.01


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StorageError(f"the disk that holds {SECRET} is full"), "disk is full"),
        (CorpusError(f"{SECRET} has no text"), "no usable recordings"),
        (BudgetError("12 utterances have spent epsilon 3.2"), "privacy budget"),
        (FedVoiceError(f"something about {SECRET}"), "could not train"),
        (RuntimeError(f"tensor of {SECRET} has 12 frames"), "could not train"),
        (ValueError(SECRET), "ValueError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_server_learns_the_kind_of_an_error_and_the_owner_its_text(
    corpus: Path, home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(device_app, "train_device", fail)
    with pytest.raises(FedVoiceError) as caught:
        ask(*prepared(corpus), home)
    said = str(caught.value)
    assert told in said
    assert type(error).__name__ in said
    assert caught.value.__cause__ is None
    for secret in ("alice", "diary", "12", "3.2"):
        assert secret not in said
    logs = [json.loads(line) for path in home.glob("*/training.jsonl") for line in path.open()]
    assert any(str(error) in entry.get("error", "") for entry in logs)


def test_a_full_disk_that_takes_no_log_line_is_told_of(
    corpus: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StorageError(f"the disk that holds {SECRET} is full")

    monkeypatch.setattr(device_app, "train_device", full)
    monkeypatch.setattr(Device, "log", full)
    with pytest.raises(FedVoiceError, match="disk is full") as caught:
        ask(*prepared(corpus), home)
    assert "alice" not in str(caught.value)
