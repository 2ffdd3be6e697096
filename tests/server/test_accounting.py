"""The accountant against independent computations: dp-accounting's own accountants, and closed forms."""

from __future__ import annotations

import json
import math

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from server.accounting import Accountant, accountant_for, epsilon, noise_multiplier_for
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.config import Recipe
from shared_models.errors import CheckpointError, PrivacyError, RecipeError
from shared_models.shown_epsilon import epsilon_shown

# Noise multiplier, sampling probability, rounds, delta.
SETTINGS = [
    (0.68, 0.1, 20, 1e-5),  # a small cohort, noisy enough for epsilon 8
    (1.0, 0.01, 1000, 1e-6),  # the textbook's
    (3.3, 0.4, 60, 1e-3),  # a device's own few utterances
    (0.6, 0.001, 2000, 1e-6),  # a large population
]


@pytest.mark.parametrize(("noise", "probability", "rounds", "delta"), SETTINGS)
def test_epsilon_equals_an_independent_computation(
    noise: float, probability: float, rounds: int, delta: float
) -> None:
    one_round = dp_event.PoissonSampledDpEvent(probability, dp_event.GaussianDpEvent(noise))
    independent = PLDAccountant().compose(dp_event.SelfComposedDpEvent(one_round, rounds)).get_epsilon(delta)
    upper = RdpAccountant().compose(one_round, rounds).get_epsilon(delta)
    found = epsilon(noise, probability, rounds, delta)
    assert found == pytest.approx(independent, rel=0.002)
    assert found <= upper
    # What the check is worth: it tells halved noise from noise.
    assert epsilon(noise / 2, probability, rounds, delta) > 1.5 * independent


def _analytic_gaussian(noise: float, delta: float) -> float:
    """Balle and Wang 2018 (arXiv 1805.06530, Theorem 8), solved for epsilon."""

    def excess(eps: float) -> float:
        upper = norm.cdf(1 / (2 * noise) - eps * noise)
        return float(upper - math.exp(eps) * norm.cdf(-1 / (2 * noise) - eps * noise) - delta)

    return float(brentq(excess, 0.0, 200.0))


@pytest.mark.parametrize(("noise", "rounds"), [(1.0, 1), (2.0, 10), (10.0, 50), (40.0, 7)])
def test_without_sampling_it_is_the_analytic_gaussian(noise: float, rounds: int) -> None:
    expected = _analytic_gaussian(noise / math.sqrt(rounds), 1e-5)
    assert epsilon(noise, 1.0, rounds, 1e-5) == pytest.approx(expected, rel=0.01)


@given(
    noise=st.floats(0.7, 20), probability=st.floats(1e-3, 0.9), rounds=st.integers(1, 200),
)  # fmt: skip
@settings(max_examples=6)
def test_epsilon_moves_the_right_way(noise: float, probability: float, rounds: int) -> None:
    here = epsilon(noise, probability, rounds, 1e-5)
    slack = 1e-3 * here + 1e-9  # discretisation
    assert here >= 0
    assert epsilon(noise * 1.3, probability, rounds, 1e-5) <= here + slack
    assert epsilon(noise, probability, 2 * rounds, 1e-5) >= here - slack
    assert epsilon(noise, min(1.0, probability * 1.5), rounds, 1e-5) >= here - slack
    assert epsilon(noise, probability, rounds, 1e-4) <= here + slack


@pytest.mark.parametrize(
    ("target", "delta", "probability", "rounds"),
    [(8.0, 1e-5, 0.1, 20), (1.0, 1e-6, 0.01, 1000), (2.0, 1e-5, 1.0, 10), (50.0, 1e-3, 0.4, 5)],
)
def test_the_noise_found_meets_the_target_and_no_more(
    target: float, delta: float, probability: float, rounds: int
) -> None:
    noise = noise_multiplier_for(target, delta, probability, rounds)
    assert 0.99 * target < epsilon(noise, probability, rounds, delta) <= target
    assert noise == float(f"{noise:.4g}")


def test_an_epsilon_that_cannot_be_reached_is_one_clear_sentence() -> None:
    with pytest.raises(
        PrivacyError, match=r"epsilon 1e-05 at delta 1e-09 cannot be reached.* costs 0\.\d"
    ) as problem:
        noise_multiplier_for(1e-5, 1e-9, 1.0, 10_000)
    assert "\n" not in str(problem.value)
    for wrong in [(0.0, 1e-5, 0.1, 1), (math.nan, 1e-5, 0.1, 1), (1.0, 0.0, 0.1, 1), (1.0, 1e-5, 1.5, 1)]:
        with pytest.raises(PrivacyError):
            noise_multiplier_for(*wrong)
    with pytest.raises(PrivacyError, match="0 releases"):
        noise_multiplier_for(1.0, 1e-5, 0.1, 0)


def test_a_loose_target_gets_the_least_noise_that_means_anything() -> None:
    assert noise_multiplier_for(1e6, 1e-5, 0.5, 3) == 0.1


def test_different_releases_compose() -> None:
    releases = [SampledGaussian(2.0, 0.2, 10), SampledGaussian(4.0, 1.0, 3), SampledGaussian(1.5, 0.01, 50)]
    accountant = PLDAccountant()
    for release in releases:
        event = dp_event.GaussianDpEvent(release.noise_multiplier)
        accountant.compose(dp_event.PoissonSampledDpEvent(release.sampling_probability, event), release.steps)
    assert epsilon_of(releases, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=0.005)
    assert epsilon_of(releases, 1e-5) == epsilon_of(releases[::-1], 1e-5)
    assert epsilon_of([], 1e-5) == 0.0


def test_rounds_are_composed_one_by_one() -> None:
    accountant = Accountant(1.0, cohort=10, population=100)
    assert accountant.epsilon(1e-5) == 0.0
    for number in range(1, 6):
        assert accountant.would_spend(1e-5) == epsilon(1.0, 0.1, number, 1e-5)
        accountant.step()
        assert accountant.epsilon(1e-5) == epsilon(1.0, 0.1, number, 1e-5)
    assert accountant.would_spend(1e-5, rounds=5) == epsilon(1.0, 0.1, 10, 1e-5)


def test_a_restored_accountant_goes_on_where_it_stopped() -> None:
    accountant = Accountant(1.0, cohort=10, population=100)
    accountant.step(7)
    saved = json.loads(json.dumps(accountant.state()))
    same, quieter = Accountant(1.0, cohort=10, population=100), Accountant(2.0, cohort=10, population=100)
    same.load(saved)
    assert same.rounds == 7
    assert same.epsilon(1e-5) == accountant.epsilon(1e-5)
    quieter.load(saved)
    quieter.step(3)
    both = epsilon_of([SampledGaussian(1.0, 0.1, 7), SampledGaussian(2.0, 0.1, 3)], 1e-5)
    assert quieter.epsilon(1e-5) == both
    again = Accountant(2.0, cohort=10, population=100)
    again.load(json.loads(json.dumps(quieter.state())))
    assert again.epsilon(1e-5) == both


@pytest.mark.parametrize("state", [{}, {"releases": [[1.0, 2.0, 3]]}, {"releases": [[1.0]]}, {"releases": 3}])
def test_a_damaged_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Accountant(1.0, cohort=10, population=100).load(state)


def test_no_amplification_is_claimed_for_fixed_cohorts() -> None:
    accountant = Accountant(5.0, cohort=10, population=100, sampling="fixed")
    accountant.step(4)
    assert accountant.epsilon(1e-5) == epsilon(5.0, 1.0, 4, 1e-5)
    assert "without amplification" in accountant.describe(1e-5)


def test_the_sentence_names_all_that_epsilon_means_nothing_without() -> None:
    accountant = Accountant(1.0, cohort=10, population=100)
    accountant.step(3)
    sentence = accountant.describe(1e-5)
    for part in [
        f"epsilon {epsilon_shown(accountant.epsilon(1e-5))} at", "delta 1e-05", "person", "Gaussian mechanism",
        "noise multiplier 1 ", "3 rounds", "privacy loss distributions", "Poisson", "10 expected out of 100",
    ]:  # fmt: skip
        assert part in sentence


def _recipe(**privacy: float | str) -> Recipe:
    return Recipe().override(
        {"federation.rounds": 12, "federation.cohort": 8, "federation.sampling": "poisson"}
        | {f"privacy.{name}": value for name, value in privacy.items()}
        | {"privacy": {"mode": "central", "delta": 1e-5} | privacy}
    )


def test_delta_is_below_one_over_the_population() -> None:
    """At one over it, one person could be published outright, and the promise would hold."""
    below = math.nextafter(1 / 40, 0)
    assert accountant_for(_recipe(noise_multiplier=0.8, delta=below, population=40), 40) is not None
    assert accountant_for(_recipe(noise_multiplier=0.8, delta=below), 40) is not None
    with pytest.raises(RecipeError, match=r"delta 0\.025 is not below one over the population of 40"):
        accountant_for(_recipe(noise_multiplier=0.8, delta=1 / 40), 40)
    with pytest.raises(RecipeError, match=r"delta 0\.025 is not below one over the population of 40"):
        _recipe(noise_multiplier=0.8, delta=1 / 40, population=40)


def test_a_recipe_gets_its_accountant() -> None:
    assert accountant_for(Recipe(), 40) is None
    accountant = accountant_for(_recipe(epsilon=6.0), 40)
    assert accountant is not None
    assert accountant.sampling_probability == 8 / 40
    assert 5.9 < accountant.would_spend(1e-5, rounds=12) <= 6.0
    scaled = accountant_for(_recipe(noise_multiplier=0.8, population=10_000, noise_cohort=200), 40)
    assert scaled is not None
    assert (scaled.noise_multiplier, scaled.sampling_probability) == (0.8, 0.02)
    with pytest.raises(RecipeError, match=r"population is 10000 and 40 clients .* privacy.noise_cohort"):
        accountant_for(_recipe(epsilon=6.0, population=10_000), 40)
    with pytest.raises(
        RecipeError, match=r"delta 0.1 is not below one over the population of 40.*delta to 0.001"
    ):
        accountant_for(_recipe(noise_multiplier=0.8, delta=0.1), 40)
    with pytest.raises(RecipeError, match="larger than its population"):
        accountant_for(_recipe(noise_multiplier=0.8, noise_cohort=200), 40)


@pytest.mark.parametrize(
    ("epsilon", "shown"),
    [(8.0, "8.00"), (7.9951, "8.00"), (7.991, "8.00"), (4.98, "4.98"), (4.9801, "4.99"), (0.0029, "0.01"),
     (0.0, "0.00"), (1.1, "1.10"), (504192.331, "504192.34"), (math.inf, "∞"), (math.nan, "∞")],
)  # fmt: skip
def test_epsilon_is_shown_rounded_up(epsilon: float, shown: str) -> None:
    assert epsilon_shown(epsilon) == shown


@given(st.floats(0, 1e6))
def test_what_is_shown_is_never_less_than_what_was_spent(epsilon: float) -> None:
    assert epsilon <= float(epsilon_shown(epsilon)) <= epsilon + 0.01 + 1e-9


@pytest.mark.parametrize(
    ("cohort", "population", "noise"), [(100, 1e6, 2.0), (100, 1e6, 1.0), (1000, 1e12, 1.0)]
)
def test_a_very_small_delta_is_reached_and_honestly(cohort: int, population: float, noise: float) -> None:
    # Below 1e-14 the convolutions of loss distributions are void: everything came out infinite.
    releases = [SampledGaussian(noise, cohort / population, 100)]
    event = dp_event.PoissonSampledDpEvent(cohort / population, dp_event.GaussianDpEvent(noise))
    upper = RdpAccountant().compose(event, 100).get_epsilon(1e-15)
    assert epsilon_of(releases, 1e-11) <= epsilon_of(releases, 1e-15) <= upper * (1 + 1e-9) < 2
    assert noise_multiplier_for(1.0, 1e-15, 1e-4, 100) < 2.0
    accountant = Accountant(noise, cohort=cohort, population=population)
    assert "composed by Renyi divergences" in accountant.describe(1e-15)
