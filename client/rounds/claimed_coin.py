r"""Whether a device is asked more often than the coin that its server claims would allow.

Amplification by sampling is worth what the claimed rate q is worth, and only the server throws the coin. What a
device can see is the numbers of the rounds that it is asked in, t_1 < t_2 < ... < t_n. If each round's coin falls
for it with probability q, independently, the gap from t_i to t_n, r = t_n - t_i rounds, holds more than
k - 1 = n - i - 1 further calls with probability

    P(t_n - t_i <= r) = P(Bin(r, q) >= k),        t_0 = 0, k = n - i.

The device computes this exact tail at each new call n, for every window that ends there (i = 0 ... n - 1), and
stops if one of them is at most

    alpha_n = level / (n^2 (n + 1)),

since n windows at each n and sum over n of 1 / (n (n + 1)) = 1 make the sum over all windows ever looked at equal
to ``level``. By the union bound an honest server is accused of lying with probability at most ``level`` in a whole
run, however many rounds it has and however often the device looks. Being offline, or declining, only removes calls.

What a liar can still have. Round numbers are the server's own, and it may jump ahead to buy room: with numbers
up to R it stays unnoticed with n calls as long as P(Bin(R, q) >= n) > alpha_n, and with no more than
:func:`unnoticed` says. R is bounded by the rounds that the recipe claims, for all of which the ledger is charged
beforehand, and calls that follow each other closely are caught by their own window however far the numbers jumped
before. The test sees one run; over all runs, whatever they are called, the policy's
``total_epsilon_without_sampling`` bounds what was sent, since that figure believes in no coin at all.

Sources: the spending of a level over looks as in Bonferroni's inequality; the tail as a regularised incomplete beta
function, I_q(k, r - k + 1) (Abramowitz and Stegun 26.5.24).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc

LEVEL = 1e-6
"""Probability with which an honest server is ever accused in a run."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A stretch of rounds that holds more calls than the claimed coin explains."""

    calls: int
    rounds: int
    chance: float
    """That an honest server's coins do this in so many rounds."""


def suspicion(asked: Sequence[int], rate: float, level: float = LEVEL) -> Suspicion | None:
    """Judge the newest of the rounds ``asked`` (1-based numbers, in any order) under the claimed ``rate``.

    Returns the least likely window that ends there if it is too unlikely, else None; always None at rate 1.
    """
    rounds = np.unique(np.asarray(asked, dtype=np.int64))
    if rate >= 1 or not rounds.size:
        return None
    n = rounds.size
    starts = np.concatenate(([0], rounds[:-1]))
    calls = np.arange(n, 0, -1)
    lengths = rounds[-1] - starts
    chances = tail(lengths, calls, rate)
    worst = int(np.argmin(chances))
    if chances[worst] > threshold(n, level):
        return None
    return Suspicion(int(calls[worst]), int(lengths[worst]), float(chances[worst]))


def threshold(n: int, level: float = LEVEL) -> float:
    """alpha_n: how unlikely a window that ends at the n-th call must be."""
    return level / (n * n * (n + 1.0))


def tail(rounds: np.ndarray, calls: np.ndarray, rate: float) -> np.ndarray:
    """P(Bin(rounds, rate) >= calls) for 1 <= calls <= rounds, elementwise."""
    return np.asarray(betainc(calls, rounds - calls + 1.0, rate))


def unnoticed(rounds: int, rate: float, level: float = LEVEL) -> int:
    """The most calls in a run of so many rounds that this test can let pass, whatever numbers they are given."""
    calls = 0
    while calls < rounds and tail(np.array([rounds]), np.array([calls + 1]), rate)[0] > threshold(
        calls + 1, level
    ):
        calls += 1
    return calls
