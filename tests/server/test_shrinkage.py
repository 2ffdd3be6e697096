"""The James-Stein factor against float64 arithmetic, its risk, and what it says of noise alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from server.shrinkage import indistinguishable_from_noise, james_stein_factor, squared_norm


@given(st.integers(3, 300), st.floats(1e-3, 10), st.floats(0, 10), st.integers(0, 2**31))
def test_it_is_the_positive_part_factor(size: int, noise: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean = (scale * rng.standard_normal(size)).astype(np.float32)
    exact = mean.astype(np.float64)
    squared = float(exact @ exact)
    expected = max(0.0, 1 - (size - 2) * noise**2 / squared) if squared else 0.0
    found = james_stein_factor(torch.from_numpy(mean), noise)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert 0 <= found <= 1


def test_without_noise_or_with_two_coordinates_nothing_is_shrunk() -> None:
    assert james_stein_factor(torch.randn(50), 0.0) == 1.0
    assert james_stein_factor(torch.randn(2), 10.0) == 1.0
    assert james_stein_factor(torch.zeros(50), 1.0) == 0.0
    assert math.isnan(james_stein_factor(torch.tensor([1.0, math.nan, 2.0]), 1.0))


def test_a_long_vector_is_summed_in_float64() -> None:
    vector = torch.full((3_000_001,), 1e-4)
    assert squared_norm(vector) == pytest.approx(3_000_001 * float(np.float32(1e-4)) ** 2, rel=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0, 3.0])
def test_it_lowers_the_risk_whatever_the_signal(ratio: float) -> None:
    size, noise, draws = 60, 0.3, 3000
    rng = np.random.default_rng(11)
    truth = rng.standard_normal(size)
    truth *= ratio * noise * math.sqrt(size) / np.linalg.norm(truth)
    released = truth + noise * rng.standard_normal((draws, size))
    factors = np.array([james_stein_factor(torch.from_numpy(row), noise) for row in released])
    risk = float(((factors[:, None] * released - truth) ** 2).sum(1).mean())
    raw = size * noise**2
    # Stein's identity, without the positive part, which can only lower it further.
    steins = raw - ((size - 2) ** 2 * noise**4 / (released**2).sum(1)).mean()
    assert risk <= steins * 1.02 < raw
    if ratio >= 1:
        assert risk == pytest.approx(steins, rel=0.02)


@pytest.mark.parametrize("size", [1000, 3_220_195])
def test_noise_alone_is_told_and_a_clear_signal_is_not_taken_for_it(size: int) -> None:
    noise = torch.randn(size, generator=torch.Generator().manual_seed(3))
    found = [james_stein_factor(0.01 * noise.roll(shift), 0.01) for shift in range(3)]
    assert all(indistinguishable_from_noise(factor, size) for factor in found)
    assert indistinguishable_from_noise(math.nan, size)
    # Signal of a third of the noise's norm: a tenth of what is released.
    signal = torch.randn(size, generator=torch.Generator().manual_seed(4)) / 3
    clear = james_stein_factor(0.01 * (noise + 3 * signal), 0.01)
    assert not indistinguishable_from_noise(clear, size)
    assert clear == pytest.approx(0.5, abs=0.08)
