"""Orderings are seen where the interval of the difference lies on their side, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared_models.config import Recipe
from simulations.evaluation.bootstrap import bootstrap_mean
from simulations.evaluation.verification import Trials
from simulations.matrix.encoders import Tried
from simulations.matrix.orderings import Ordering, orderings
from simulations.matrix.recipes import Entry
from simulations.matrix.summary import CAMPPLUS, GE2E, Row
from simulations.matrix.training import Trained

PEOPLE = [f"p{number}" for number in range(8)]


def row(name: str, way: str, likeness: float, metric: str = CAMPPLUS, spread: float = 0.01) -> Row:
    own = {p: {metric: likeness + spread * place} for place, p in enumerate(PEOPLE)}
    return Row(name, way, {metric: bootstrap_mean([v[metric] for v in own.values()])}, own)


def trained(numbers: int) -> Trained:
    return Trained(Path("run"), "hash", "fedrep", 1, 8, 1.0, 1.0, "vectors", numbers, 4 * numbers)


def norms_against_whole(norms: Row, whole: Row, share: float = 0.01) -> Ordering:
    sizes = {"adaspeech": trained(int(10_000 * share)), "whole_model": trained(10_000)}
    [found] = orderings([], sizes, [norms, whole], [])
    return found


def test_conditional_norms_are_near_the_whole_model_or_not() -> None:
    near = norms_against_whole(row("adaspeech", "20 steps", 0.50), row("whole_model", "20 steps", 0.53))
    assert near.seen
    assert near.difference.mean == pytest.approx(-0.03)
    assert "1.00%" in near.claim
    assert ": seen (campplus likeness" in str(near)
    far = norms_against_whole(row("adaspeech", "20 steps", 0.50), row("whole_model", "20 steps", 0.60))
    assert not far.seen
    assert ": not seen (" in str(far)
    large = norms_against_whole(
        row("adaspeech", "20 steps", 0.50), row("whole_model", "20 steps", 0.53), share=0.5
    )
    assert not large.seen


def test_the_interval_decides_and_not_the_mean() -> None:
    # On the mean near; but some people lose a lot.
    torn = row("adaspeech", "20 steps", 0.50, spread=0.0)
    torn.speakers["p0"][CAMPPLUS] -= 0.25
    assert not norms_against_whole(torn, row("whole_model", "20 steps", 0.50, spread=0.0)).seen


def test_the_last_way_of_each_counts() -> None:
    rows = [row("adaspeech", "5 steps", 0.1), row("adaspeech", "20 steps", 0.5)]
    [found] = orderings(
        [],
        {"adaspeech": trained(1), "whole_model": trained(100)},
        [*rows, row("whole_model", "20 steps", 0.5)],
        [],
    )
    assert found.difference.mean == pytest.approx(0)


@pytest.mark.parametrize(("ahead", "seen"), [(0.05, True), (0.0, False), (-0.05, False)])
def test_meta_learning_is_ahead_of_its_twin_after_few_steps_or_not(ahead: float, seen: bool) -> None:
    entries = [Entry("meta_tts", Recipe(), plain="meta_tts_plain"), Entry("lora", Recipe())]
    rows = [
        row(name, way, 0.5 + (ahead if name == "meta_tts" else 0), GE2E)
        for name in ("meta_tts", "meta_tts_plain", "lora") for way in ("zero-shot", "5 steps", "20 steps")
    ]  # fmt: skip
    [found] = orderings(entries, {}, rows, [])
    assert found.seen == seen
    assert "after 5 steps" in found.claim
    assert found.difference.count == len(PEOPLE)


def tried(kind: str, wrong: int) -> Tried:
    """An encoder that takes ``wrong`` of ten strangers of each person for the person, and refuses as many clips."""
    own = np.array([0.1] * wrong + [0.9] * (10 - wrong))
    others = np.array([[0.9]] * wrong + [[0.1]] * (10 - wrong))
    return Tried(kind, 1, {person: Trials(own, others) for person in PEOPLE})


def test_encoders_are_ordered_by_their_error_rates() -> None:
    first, second = orderings([], {}, [], [tried("ecapa", 1), tried("x_vector", 3), tried("d_vector", 3)])
    assert first.seen
    assert first.difference.mean == pytest.approx(-0.2)
    assert "ecapa has a lower equal error rate than x_vector" in first.claim
    assert not second.seen
    assert second.difference.mean == 0


def test_without_both_sides_nothing_is_said() -> None:
    assert orderings([Entry("lora", Recipe())], {"lora": trained(3)}, [row("lora", "5 steps", 0.5)], []) == []
