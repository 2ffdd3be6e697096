"""The test of a server's coin: its tail is exact, its false alarms rare, and a liar gets little past it."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import binom

from client.rounds.claimed_coin import LEVEL, suspicion, tail, threshold, unnoticed


@pytest.mark.parametrize("rate", [5e-8, 1e-3, 0.1, 0.5, 0.97])
def test_the_tail_is_scipys(rate: float) -> None:
    rounds = np.array([1, 2, 7, 40, 40, 1000, 1_000_000])
    calls = np.array([1, 2, 3, 1, 40, 30, 70])
    np.testing.assert_allclose(
        tail(rounds, calls, rate), binom.sf(calls - 1, rounds, rate), rtol=1e-9, atol=1e-300
    )


def test_the_tail_is_the_sum_over_all_outcomes() -> None:
    rate = Fraction(3, 7)
    for rounds in range(1, 9):
        for calls in range(1, rounds + 1):
            exact = sum(
                comb(rounds, k) * rate**k * (1 - rate) ** (rounds - k) for k in range(calls, rounds + 1)
            )
            assert tail(np.array([rounds]), np.array([calls]), float(rate))[0] == pytest.approx(
                float(exact), rel=1e-12
            )


def test_the_level_is_spent_and_not_exceeded() -> None:
    spent = sum(n * threshold(n, 1.0) for n in range(1, 100_000))
    assert 0.9999 < spent <= 1.0


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.8])
def test_an_honest_coin_is_accused_less_often_than_the_level(rate: float) -> None:
    rng, level, runs, accused = np.random.default_rng(5), 0.2, 400, 0
    for _ in range(runs):
        asked = np.flatnonzero(rng.random(120) < rate) + 1
        # The device looks at every call, and stops at the first that is too much.
        accused += any(suspicion(asked[: n + 1].tolist(), rate, level) for n in range(len(asked)))
    # Three standard deviations above the level would be chance; the union bound leaves it far below.
    assert accused / runs <= level + 3 * (level * (1 - level) / runs) ** 0.5
    if rate == 0.02:
        assert accused, "a level of a fifth that never accuses anybody tests nothing"


@pytest.mark.parametrize(
    ("claimed", "most"),
    [(5e-8, 1), (1e-4, 2), (0.01, 5), (0.1, 10), (0.5, 36)],
)
def test_a_server_that_asks_in_every_round_is_found_out(claimed: float, most: int) -> None:
    calls = next(n for n in range(1, 200) if suspicion(list(range(1, n + 1)), claimed))
    assert calls <= most


def test_numbers_that_jump_ahead_buy_no_more_than_is_stated() -> None:
    rate, rounds = 5e-8, 1_000_000
    allowed = unnoticed(rounds, rate)
    assert allowed <= 4
    # The liar's best: calls as far apart as the claimed rounds let them be, however they are spread.
    rng = np.random.default_rng(1)
    spreads = [np.linspace(rounds / 20, rounds, 20).astype(int).tolist()]
    spreads += [sorted(rng.choice(rounds, 20, replace=False) + 1) for _ in range(20)]
    spreads += [list(range(rounds - 19, rounds + 1))]
    for asked in spreads:
        got = next(n for n in range(1, 21) if suspicion(asked[:n], rate)) - 1
        assert got <= allowed


def test_a_jump_does_not_hide_what_follows_closely() -> None:
    late = [900_000, 900_001, 900_002, 900_003]
    assert tail(np.array([late[-1]]), np.array([4]), 1e-3)[0] > 0.99
    found = suspicion(late, 1e-3)
    assert found is not None
    assert (found.calls, found.rounds) == (3, 3)


def test_what_is_stated_is_reached_and_not_passed() -> None:
    for rounds, rate in ((30, 0.1), (300, 0.05), (1000, 0.5)):
        allowed = unnoticed(rounds, rate)
        assert tail(np.array([rounds]), np.array([allowed]), rate)[0] > threshold(allowed)
        assert tail(np.array([rounds]), np.array([allowed + 1]), rate)[0] <= threshold(allowed + 1)


def test_no_coin_is_no_claim() -> None:
    assert suspicion(list(range(1, 100)), 1.0) is None
    assert suspicion([], 0.1) is None
    assert LEVEL == 1e-6
