"""Identification and equal error rate, against counting; rate and spread, against sounds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.mel import SAMPLE_RATE
from simulations.evaluation.bootstrap import bootstrap_mean, bootstrap_of
from simulations.evaluation.delivery import pitch_spread, speech_seconds
from simulations.evaluation.verification import Trials, all_pairs, equal_error_rate, trials, trials_of_each

scores = st.lists(st.integers(-20, 20).map(lambda n: n / 20), min_size=1, max_size=12)


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def test_a_clip_is_its_own_speakers_and_no_others() -> None:
    gallery = {"anna": unit(1, 0, 0), "ben": unit(0, 1, 0), "cleo": unit(0, 0, 1)}
    clips = [unit(0.9, 0.1, 0), unit(0.2, 0.9, 0)]
    assert trials(clips[:1], gallery, "anna").identified == 1
    assert trials(clips[:1], gallery, "ben").identified == 0
    assert trials(clips, gallery, "anna").identified == 0.5
    assert trials(clips[:1], gallery, "anna").likeness == pytest.approx(0.9 / np.hypot(0.9, 0.1))


def test_a_silent_clip_is_nobodys() -> None:
    gallery = {"anna": unit(1, 0), "ben": unit(-1, 0)}
    heard = trials([None], gallery, "anna")
    assert (heard.likeness, heard.identified) == (0, 0)


def test_alone_nobody_is_identified() -> None:
    assert np.isnan(trials([unit(1, 0)], {"anna": unit(1, 0)}, "anna").identified)


@given(own=scores, others=scores)
@settings(max_examples=200)
def test_equal_error_rate_is_the_best_balance_that_counting_finds(
    own: list[float], others: list[float]
) -> None:
    balances = []
    for threshold in (*own, *others, 2.0):
        refused = sum(score < threshold for score in own) / len(own)
        accepted = sum(score >= threshold for score in others) / len(others)
        balances.append((abs(refused - accepted), (refused + accepted) / 2))
    found = equal_error_rate([Trials(np.array(own), np.array(others)[None])])
    closest = min(gap for gap, _ in balances)
    assert any(found == pytest.approx(rate) for gap, rate in balances if gap == pytest.approx(closest))


def test_equal_error_rate_of_what_is_known() -> None:
    apart = [Trials(np.array([0.9, 0.8]), np.array([[0.1], [0.2]]))]
    swapped = [Trials(np.array([0.1, 0.2]), np.array([[0.9], [0.8]]))]
    assert equal_error_rate(apart) == 0
    assert equal_error_rate(swapped) == 1
    assert np.isnan(equal_error_rate([Trials(np.array([0.9]), np.zeros((1, 0)))]))


def test_the_interval_of_a_statistic_is_that_of_a_mean_where_it_is_one() -> None:
    values = np.random.default_rng(3).normal(size=40).tolist()
    mean, statistic = bootstrap_mean(values), bootstrap_of(values, lambda drawn: float(np.mean(drawn)))
    assert statistic.mean == pytest.approx(mean.mean)
    assert statistic.low == pytest.approx(mean.low, abs=0.05)
    assert statistic.high == pytest.approx(mean.high, abs=0.05)
    assert np.isnan(bootstrap_of([1.0], lambda drawn: float(np.mean(drawn))).low)


def tone(hertz: np.ndarray) -> np.ndarray:
    """Harmonics of a pitch ``(samples,)`` that moves."""
    phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
    return (0.3 * sum(np.sin(n * phase) / n for n in range(1, 6))).astype(np.float32)


def test_speech_is_as_long_as_it_sounds() -> None:
    sound, silence = tone(np.full(SAMPLE_RATE, 150.0)), np.zeros(SAMPLE_RATE // 2, dtype=np.float32)
    assert speech_seconds(np.concatenate([silence, sound, silence])) == pytest.approx(1.1, abs=0.03)
    assert np.isnan(speech_seconds(np.zeros(SAMPLE_RATE, dtype=np.float32)))


def test_spread_of_pitch_is_the_deviation_of_its_logarithm() -> None:
    """A slow sine in the logarithm of amplitude 0.2 deviates by 0.2 / sqrt(2); an octave up changes nothing."""
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    wander = np.exp(0.2 * np.sin(2 * np.pi * seconds))
    low, high = tone(120 * wander), tone(240 * wander)
    assert pitch_spread([low]) == pytest.approx(0.2 / np.sqrt(2), rel=0.05)
    assert pitch_spread([high]) == pytest.approx(pitch_spread([low]), rel=0.05)
    assert pitch_spread([low, high]) > 2 * pitch_spread([low])
    assert np.isnan(pitch_spread([np.zeros(SAMPLE_RATE, dtype=np.float32)]))


@given(st.integers(2, 4), st.integers(2, 4), st.integers(0, 99))
@settings(max_examples=30)
def test_the_trials_of_each_speaker_are_those_of_all_pairs(people: int, clips: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    heard = {f"p{n}": rng.standard_normal((clips, 3)).astype(np.float32) for n in range(people)}
    whole, parts = all_pairs(heard), trials_of_each(heard)
    assert sorted(np.concatenate([p.own for p in parts.values()])) == pytest.approx(sorted(whole.own))
    others = np.concatenate([p.others.ravel() for p in parts.values()])
    # Each pair of two speakers is one of either's.
    assert sorted(others) == pytest.approx(sorted(np.repeat(whole.others.ravel(), 2)))
    assert equal_error_rate(list(parts.values())) == pytest.approx(equal_error_rate([whole]))
