"""One clipped step against its arithmetic, and a training that goes on after its moments were put away."""

import copy

import pytest
import torch
from numbers_of_nothing import reading_gives
from torch import nn

from shared_models.optimization import adam, descend, load_moments, moments, take_steps


@pytest.mark.parametrize(("clip", "length"), [(100.0, 5.0), (1.0, 1.0)])
def test_a_step_follows_the_gradient_clipped_to_its_norm(clip: float, length: float) -> None:
    weights = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    weights.grad = torch.full_like(weights, 1e6)  # of an earlier step: it may not count
    optimizer = torch.optim.SGD([weights], lr=1.0)
    loss = (weights * torch.tensor([3.0, 4.0], dtype=torch.float64)).sum() + 7.0

    assert float(descend(loss, [weights], optimizer, clip)) == 7.0

    expected = -torch.tensor([0.6, 0.8], dtype=torch.float64) * length
    torch.testing.assert_close(weights.detach(), expected, rtol=1e-5, atol=0)


def _steps(layer: nn.Linear, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for number in range(first, last):
        rng = torch.Generator().manual_seed(number)
        loss = layer(torch.randn(4, 3, generator=rng)).square().mean()
        descend(loss, list(layer.parameters()), optimizer, clip=0.5)


def _adam(layer: nn.Linear, lr: float = 0.01) -> torch.optim.Optimizer:
    return torch.optim.Adam(layer.parameters(), lr=lr, betas=(0.9, 0.99), fused=True)


def test_a_training_goes_on_from_its_moments_bit_for_bit() -> None:
    torch.manual_seed(1)
    whole = nn.Linear(3, 2)
    begun = copy.deepcopy(whole)
    _steps(whole, _adam(whole), 0, 10)
    before = _adam(begun)
    _steps(begun, before, 0, 6)

    resumed = copy.deepcopy(begun)
    after = _adam(resumed)
    load_moments(after, moments(before))
    _steps(resumed, after, 6, 10)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)

    without = copy.deepcopy(begun)
    _steps(without, _adam(without), 6, 10)
    assert not torch.equal(without.weight, whole.weight)  # the moments were worth keeping


def test_loaded_moments_are_copies_and_leave_the_learning_rate() -> None:
    layer = nn.Linear(3, 2)
    first = _adam(layer)
    _steps(layer, first, 0, 3)
    saved = {name: value.clone() for name, value in moments(first).items()}
    second = _adam(layer, lr=0.5)
    load_moments(second, saved)
    kept = {name: value.clone() for name, value in saved.items()}
    _steps(layer, second, 3, 5)
    assert second.param_groups[0]["lr"] == 0.5
    torch.testing.assert_close(saved, kept, rtol=0, atol=0)


def test_losses_are_read_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(3, 2).to("meta")
    parameters = list(layer.parameters())

    def loss() -> torch.Tensor:
        squares: torch.Tensor = layer(torch.ones(4, 3, device="meta")).square()
        return squares.mean()

    with reading_gives(2.5, monkeypatch) as read:
        assert take_steps(loss, parameters, adam(parameters), 1.0, steps=3) == [2.5, 2.5, 2.5]
    assert read == [(3,)]


def test_the_learning_rate_falls_over_the_last_steps() -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    moved = []

    def slope() -> torch.Tensor:
        moved.append(float(weight.detach()))
        return weight

    sgd = torch.optim.SGD([weight], lr=1.0)
    take_steps(slope, [weight], sgd, None, steps=4, falls_from=0.5)
    # Gradient 1: each step is the learning rate. Its share is 1 until half of them are done, then falls to 0.
    assert [*moved, float(weight.detach())] == [0.0, -1.0, -2.0, -3.0, -3.5]
