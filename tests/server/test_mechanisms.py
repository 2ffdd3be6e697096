"""The central mechanism adds the noise that the accountant was told, and samples as it was told."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from independence import most_correlated, most_repetitive
from scipy import stats
from torch import Tensor

from server import mechanisms
from server.aggregation import StreamingSum
from server.mechanisms import CentralGaussian, audit_noise, sample_cohort
from shared_models.errors import PrivacyError
from shared_models.noise import standard_normal
from shared_models.seeds import generator

LARGE = 300_000


def _released(mechanism: CentralGaussian, total: StreamingSum, seed: int | None = 1) -> Tensor:
    return mechanism.release(total, None if seed is None else generator(seed, "noise")).double()


@pytest.mark.parametrize("seed", [1, None], ids=["simulation", "operating system"])
def test_the_noise_has_the_promised_deviation_and_is_gaussian(seed: int | None) -> None:
    mechanism = CentralGaussian(clipping_norm=0.5, noise_multiplier=1.2, expected_cohort=8)
    noise = _released(mechanism, StreamingSum(LARGE), seed)
    assert mechanism.noise_on_mean == pytest.approx(1.2 * 0.5 / 8)
    assert float(noise.std()) == pytest.approx(mechanism.noise_on_mean, rel=5 / math.sqrt(2 * LARGE))
    assert abs(float(noise.mean())) < 5 * mechanism.noise_on_mean / math.sqrt(LARGE)
    assert stats.kstest(noise[:50_000].numpy() / mechanism.noise_on_mean, "norm").pvalue > 1e-4


def test_noise_is_added_to_the_mean_over_the_expected_cohort() -> None:
    mechanism = CentralGaussian(0.5, 1.2, expected_cohort=8)
    total = StreamingSum(LARGE)
    for _ in range(3):  # five of eight dropped out
        total.add(torch.full((LARGE,), 0.25))
    difference = _released(mechanism, total) - _released(mechanism, StreamingSum(LARGE))
    torch.testing.assert_close(
        difference, torch.full((LARGE,), 3 * 0.25 / 8, dtype=torch.float64), rtol=0, atol=1e-6
    )


def test_a_larger_noise_cohort_scales_the_noise_down() -> None:
    real = CentralGaussian(0.5, 1.2, expected_cohort=8)
    scaled = CentralGaussian(0.5, 1.2, expected_cohort=8, noise_cohort=400)
    assert real.noise_on_sum == pytest.approx(1.2 * 0.5)
    assert scaled.noise_on_mean == pytest.approx(1.2 * 0.5 / 400)
    assert scaled.noise_on_sum == pytest.approx(real.noise_on_sum * 8 / 400)
    noise = _released(scaled, StreamingSum(LARGE))
    assert float(noise.std()) == pytest.approx(scaled.noise_on_mean, rel=0.01)
    assert "400 expected" in scaled.describe()
    assert "8 simulated" in scaled.describe()
    assert "8 expected" in real.describe()


def test_simulated_noise_repeats_and_live_noise_does_not() -> None:
    mechanism, total = CentralGaussian(0.5, 1.2, 8), StreamingSum(70_000)
    assert torch.equal(_released(mechanism, total, 1), _released(mechanism, total, 1))
    assert not torch.equal(_released(mechanism, total, 1), _released(mechanism, total, 2))
    assert not torch.equal(_released(mechanism, total, None), _released(mechanism, total, None))


@pytest.mark.parametrize("seed", [1, None], ids=["simulation", "operating system"])
def test_no_coordinate_of_a_release_tells_of_another(seed: int | None) -> None:
    blocks, block = 5, 1 << 16
    noise = _released(CentralGaussian(0.5, 1.2, 8), StreamingSum(blocks * block + 123), seed)
    assert most_repetitive(noise) < 1
    assert most_correlated(noise[: blocks * block].view(blocks, block)) < 1


def test_no_release_tells_of_another() -> None:
    mechanism, total = CentralGaussian(0.5, 1.2, 8), StreamingSum((1 << 16) + 5)
    live = [_released(mechanism, total, None) for _ in range(4)]
    assert (
        most_correlated(torch.stack([*live, *(_released(mechanism, total, seed) for seed in range(4))])) < 1
    )


def test_noise_is_added_before_anything_is_rounded() -> None:
    """Rounded once, each published number has many preimages: see :mod:`shared_models.noise`."""
    mechanism, total = CentralGaussian(0.5, 1.2, expected_cohort=8), StreamingSum(5000)
    update = torch.randn(5000, generator=generator("update")) * 0.1
    total.add(update)
    noise = standard_normal(5000, generator(1, "noise")) * mechanism.noise_on_sum
    value = torch.from_numpy(total.block(0, 5000))
    assert torch.equal(_released(mechanism, total).float(), ((noise + value) / 8).float())
    twice = (noise.float() + value.float()) / 8
    assert not torch.equal(((noise + value) / 8).float(), twice), "too few numbers to tell"


@pytest.mark.parametrize("noise_cohort", [None, 400])
def test_the_audit_passes_what_is_right_and_fails_halved_noise(
    monkeypatch: pytest.MonkeyPatch, noise_cohort: float | None
) -> None:
    mechanism = CentralGaussian(0.5, 1.2, expected_cohort=8, noise_cohort=noise_cohort)
    assert audit_noise(mechanism, 1.2) == pytest.approx(1.0, abs=0.01)
    with pytest.raises(PrivacyError, match="accountant was told"):
        audit_noise(mechanism, told_noise_multiplier=1.25)
    monkeypatch.setattr(mechanisms, "standard_normal", lambda size, source: standard_normal(size, source) / 2)
    with pytest.raises(PrivacyError, match="does not hold"):
        audit_noise(mechanism, 1.2)


@pytest.mark.parametrize(
    "wrong",
    [(0.0, 1.0, 8), (0.5, 0.0, 8), (0.5, math.inf, 8), (0.5, 1.0, 0), (math.nan, 1.0, 8), (0.5, 1.0, 8, 4)],
)
def test_senseless_mechanisms_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(PrivacyError):
        CentralGaussian(*wrong)


@pytest.mark.parametrize("seed", [3, None], ids=["simulation", "operating system"])
def test_poisson_cohorts_are_made_of_independent_coins(seed: int | None) -> None:
    people, probability, rounds = list("abcdefghij"), 0.3, 2000
    drawn = torch.zeros(rounds, len(people))
    for number in range(rounds):
        source = None if seed is None else generator(seed, "cohort", number)
        for person in sample_cohort(people, probability, source, "poisson"):
            drawn[number, people.index(person)] = 1
    error = math.sqrt(probability * (1 - probability) / rounds)
    assert float((drawn.mean(0) - probability).abs().max()) < 4.5 * error
    sizes = drawn.sum(1)
    assert float(sizes.var()) == pytest.approx(10 * 0.3 * 0.7, rel=0.15)
    assert 0 in sizes  # (0.7 ** 10 is 2.8%: an empty cohort is a cohort)
    correlation = torch.corrcoef(drawn.T) - torch.eye(10)
    assert float(correlation.abs().max()) < 5 / math.sqrt(rounds)


@given(population=st.integers(1, 60), wanted=st.integers(1, 60), number=st.integers(0, 1000))
def test_fixed_cohorts_have_their_size_and_nobody_twice(population: int, wanted: int, number: int) -> None:
    wanted = min(wanted, population)
    chosen = sample_cohort(range(population), wanted / population, generator(1, number), "fixed")
    assert len(chosen) == len(set(chosen)) == wanted
    assert chosen == sorted(chosen)
    assert chosen == sample_cohort(range(population), wanted / population, generator(1, number), "fixed")


def test_every_round_draws_anew() -> None:
    cohorts = {tuple(sample_cohort(range(50), 0.2, generator(1, number), "fixed")) for number in range(20)}
    assert len(cohorts) == 20


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.1])
def test_a_senseless_probability_is_refused(probability: float) -> None:
    with pytest.raises(PrivacyError):
        sample_cohort(range(5), probability, None, "poisson")


def test_a_simulation_seed_is_too_small_to_guard_anybody() -> None:
    """Why live noise is never drawn from a torch.Generator: two seeds that differ by 2**32 are one."""
    first, second = (torch.Generator().manual_seed(seed) for seed in (5, 5 + 2**32))
    assert torch.equal(standard_normal(100, first), standard_normal(100, second))
