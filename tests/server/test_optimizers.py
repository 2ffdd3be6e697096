"""Server optimizers against the paper's formulas in float64 and against Flower's strategies."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.metadata import Metadata
from flwr.serverapp import strategy as flower

from server.optimizers import FedAdam, FedYogi, ServerOptimizer, build_server_optimizer
from shared_models.config import FederationConfig
from shared_models.errors import CheckpointError

SIZE, ROUNDS = 50, 6
LR, MOMENTUM, BETA1, BETA2, TAU = 0.05, 0.8, 0.9, 0.99, 1e-3
NAMES = ["fedavg", "fedavgm", "fedadam", "fedyogi"]


def _build(name: str) -> ServerOptimizer:
    config = FederationConfig(
        server_optimizer=name, server_lr=LR, momentum=MOMENTUM, beta1=BETA1, beta2=BETA2, tau=TAU
    )
    return build_server_optimizer(config, SIZE)


def _updates() -> list[torch.Tensor]:
    seed = torch.Generator().manual_seed(2)
    # Shrinking updates make FedYogi's sign turn; a zero one must be survived.
    return [
        *(torch.randn(SIZE, generator=seed) * 0.1 / (i + 1) for i in range(ROUNDS - 1)),
        torch.zeros(SIZE),
    ]


def _closed_form(name: str, start: np.ndarray, updates: list[np.ndarray]) -> np.ndarray:
    """All rounds at once from the unrolled sums, in float64."""
    x = start.copy()
    for t in range(1, len(updates) + 1):
        seen = updates[:t]
        if name == "fedavg":
            x += LR * seen[-1]
        elif name == "fedavgm":
            x += LR * sum(MOMENTUM ** (t - 1 - i) * u for i, u in enumerate(seen))
        else:
            m = (1 - BETA1) * sum(BETA1 ** (t - 1 - i) * u for i, u in enumerate(seen))
            if name == "fedadam":
                v = BETA2**t * TAU**2
                v = v + (1 - BETA2) * sum(BETA2 ** (t - 1 - i) * u**2 for i, u in enumerate(seen))
            else:
                v = np.full_like(x, TAU**2)
                for u in seen:
                    v = v - (1 - BETA2) * u**2 * np.sign(v - u**2)
            x = x + LR * m / (np.sqrt(v) + TAU)
    return x


@pytest.mark.parametrize("name", NAMES)
def test_they_compute_the_papers_formulas(name: str) -> None:
    optimizer, weights = _build(name), torch.linspace(-1, 1, SIZE)
    start = weights.clone()
    for update in _updates():
        weights = optimizer.step(weights, update)
    expected = _closed_form(name, start.double().numpy(), [u.double().numpy() for u in _updates()])
    np.testing.assert_allclose(weights.numpy(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    whole, weights = _build(name), torch.zeros(SIZE)
    given = _updates()
    for update in given[:3]:
        weights = whole.step(weights, update)
    saved = {key: value.clone() for key, value in whole.state().items()}
    restored, again = _build(name), weights.clone()
    restored.load_state(saved)
    for update in given[3:]:
        weights, again = whole.step(weights, update), restored.step(again, update)
    assert torch.equal(weights, again)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone(name: str) -> None:
    weights, update = torch.ones(SIZE), torch.full((SIZE,), 0.5)
    _build(name).step(weights, update)
    assert torch.equal(weights, torch.ones(SIZE))
    assert torch.equal(update, torch.full((SIZE,), 0.5))


def test_another_optimizers_state_is_refused() -> None:
    with pytest.raises(CheckpointError, match="resume with the recipe"):
        _build("fedadam").load_state(_build("fedavgm").state())
    with pytest.raises(CheckpointError):
        _build("fedavg").load_state(_build("fedadam").state())
    with pytest.raises(CheckpointError):
        _build("fedadam").load_state({"m": torch.zeros(3), "v": torch.zeros(3)})


def _reply(weights: np.ndarray) -> Message:
    content = RecordDict(
        {"arrays": ArrayRecord({"x": Array(weights)}), "metrics": MetricRecord({"num-examples": 1})}
    )
    # As a grid would deliver it: messages cannot be made otherwise outside of a run.
    metadata = Metadata(1, "reply", 1, 0, "instruction", "1", time.time(), 60.0, "train")
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_they_agree_with_flowers_strategies(name: str) -> None:
    """Flower starts the second moment at 0, and its FedAdam adds a bias correction that the paper has not."""
    settings = {"eta": LR, "beta_1": BETA1, "beta_2": BETA2, "tau": TAU}
    theirs = (flower.FedAdam if name == "fedadam" else flower.FedYogi)(**settings)
    ours = (FedAdam if name == "fedadam" else FedYogi)(SIZE, LR, BETA1, BETA2, TAU)
    ours.load_state({"m": torch.zeros(SIZE), "v": torch.zeros(SIZE)})
    weights = torch.linspace(-1, 1, SIZE)
    for number, update in enumerate(_updates(), start=1):
        theirs.current_arrays = {"x": weights.numpy()}
        arrays, _ = theirs.aggregate_train(number, [_reply((weights + update).numpy())])
        assert arrays is not None
        if name == "fedadam":
            ours.lr = LR * np.sqrt(1 - BETA2 ** (number + 1)) / (1 - BETA1 ** (number + 1))
        weights = ours.step(weights, update)
        np.testing.assert_allclose(weights.numpy(), arrays["x"].numpy(), rtol=1e-4, atol=1e-5)
