"""Releasing a speaker embedding: the noise is the closed form's, and its cost is in the ledger before it exists."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from client import embedding_release
from client.embedding_release import EmbeddingTerms, mean_embedding, release, require_paid
from client.home.ledger import Ledger
from client.speaker_embedding import SpeakerEmbedding, heard_of, load_embedding, save_embedding, told
from shared_models.accounting import SampledGaussian, epsilon_of, gaussian_epsilon
from shared_models.analytic_gaussian import analytic_noise_multiplier
from shared_models.errors import BudgetError, CorpusError, PrivacyError

TERMS = EmbeddingTerms(4.0, 1e-5)


def vectors(count: int = 20, width: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1
    )


def ledger_at(path: Path, epsilon: float | None = None) -> Ledger:
    return Ledger(path / "ledger.sqlite", epsilon, 1e-5)


def delta_of(noise: float, epsilon: float) -> float:
    """The delta of a Gaussian release at ``epsilon``, integrated from the two densities rather than by a formula."""
    x = np.linspace(-12 * noise, 12 * noise + 1, 400_001)
    with_it, without = stats.norm.pdf(x, 1, noise), stats.norm.pdf(x, 0, noise)
    return float(np.trapezoid(np.maximum(with_it - np.exp(epsilon) * without, 0), x))


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-5), (4.0, 1e-5), (8.0, 1e-3)])
def test_the_noise_is_the_least_that_gives_epsilon(epsilon: float, delta: float) -> None:
    noise = analytic_noise_multiplier(epsilon, delta)
    assert delta_of(noise, epsilon) == pytest.approx(delta, rel=1e-3)
    assert delta_of(noise * 0.99, epsilon) > delta
    # The classical bound needs more, where it holds at all.
    assert epsilon > 1 or noise < math.sqrt(2 * math.log(1.25 / delta)) / epsilon
    terms = EmbeddingTerms(epsilon, delta)
    assert noise <= terms.noise_multiplier <= noise * 1.001
    assert epsilon_of([SampledGaussian(terms.noise_multiplier, 1.0)], delta) <= epsilon


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 20), st.floats(1e-9, 1e-2))
def test_it_is_the_inverse_of_the_accountant(epsilon: float, delta: float) -> None:
    noise = analytic_noise_multiplier(epsilon, delta)
    assert gaussian_epsilon(noise, delta) <= epsilon * (1 + 1e-9)
    if noise > 0.1:
        assert gaussian_epsilon(noise * (1 - 1e-6), delta) > epsilon * (1 - 1e-9)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_an_epsilon_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(PrivacyError, match="epsilon must be"):
        analytic_noise_multiplier(wrong, 1e-5)


@pytest.mark.parametrize("unit", ["utterance", "person"])
def test_measured_noise_is_that_of_the_closed_form_and_gaussian(unit: str, tmp_path: Path) -> None:
    terms = EmbeddingTerms(4.0, 1e-5, unit, clipping_norm=0.5)  # type: ignore[arg-type]
    own = vectors(10, 4000)
    noise = release(own, terms, ledger_at(tmp_path)) - mean_embedding(own, 0.5)
    expected = analytic_noise_multiplier(4.0, 1e-5) * 0.5 / (10 if unit == "utterance" else 1)
    # 4000 draws: their deviation is within 9 % of the true one but once in 1e15.
    assert float(noise.std()) == pytest.approx(expected, rel=0.09)
    assert abs(float(noise.mean())) < 8 * expected / 4000**0.5
    assert stats.kstest(noise.numpy() / expected, "norm").statistic < 0.06


def test_noise_comes_from_the_operating_system(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = release(vectors(), TERMS, ledger_at(tmp_path))
    torch.manual_seed(1)
    assert not torch.equal(first, release(vectors(), TERMS, ledger_at(tmp_path)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.floats(0.1, 50), st.data())
def test_neighbours_move_the_mean_by_the_sensitivity_at_most(
    n: int, size: float, data: st.DataObject
) -> None:
    own = size * vectors(n, 8, seed=n)
    emptied = own.clone()
    emptied[data.draw(st.integers(0, n - 1))] = data.draw(st.sampled_from([0.0, math.nan, math.inf]))
    moved = float((mean_embedding(own, 0.7) - mean_embedding(emptied, 0.7)).norm())
    assert moved <= 0.7 / n * (1 + 1e-9)
    assert float(mean_embedding(own, 0.7).norm()) <= 0.7 * (1 + 1e-9)


def test_what_clipping_leaves_alone_is_the_mean() -> None:
    own = vectors()
    torch.testing.assert_close(mean_embedding(own, 1.0001), own.double().mean(0))
    assert not torch.allclose(mean_embedding(own, 0.5), own.double().mean(0))


def test_neighbours_releases_cannot_be_told_apart_better_than_promised(tmp_path: Path) -> None:
    """The best test between two neighbours, along the line on which their means differ, against the promise."""
    terms = EmbeddingTerms(1.0, 1e-5)
    own = vectors(5, 16)
    other = own.clone()
    other[2] = 0.0
    line = mean_embedding(own, 1.0) - mean_embedding(other, 1.0)
    distance = float(line.norm())
    ledger = ledger_at(tmp_path)
    rng = torch.Generator().manual_seed(4)
    # The line's share of the noise is what an adversary sees.
    scores = [
        [
            float((release(s, terms, ledger, rng).double() - mean_embedding(other, 1.0)) @ line) / distance
            for _ in range(6)
        ]
        for s in (own, other)
    ]
    measured = float(np.std(scores[0] + [s + distance for s in scores[1]]))
    assert distance == pytest.approx(1 / 5, rel=1e-5)
    assert gaussian_epsilon(measured * 1.6 / distance, 1e-5) < 1.0
    assert gaussian_epsilon(measured / 1.6 / distance, 1e-5) > 1.0


def test_the_cost_is_in_the_ledger_before_the_noise_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, seen = ledger_at(tmp_path), []

    def no_noise(*_: object) -> torch.Tensor:
        seen.append(len(ledger.history()))
        raise RuntimeError("the power fails")

    monkeypatch.setattr(embedding_release, "standard_normal", no_noise)
    with pytest.raises(RuntimeError):
        release(vectors(), TERMS, ledger)
    assert seen == [1]
    (entry,) = ledger.history()
    assert (entry.spend.unit, entry.spend.steps, entry.spend.sampling_probability) == ("utterance", 1, 1.0)


def test_two_releases_compose_and_a_budget_stops_the_one_beyond_it(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, 6.0)
    release(vectors(), TERMS, ledger)
    one = ledger.spent()
    assert one == pytest.approx(4.0, rel=2e-3)
    assert one <= 4.0
    release(vectors(), TERMS, ledger)
    both = gaussian_epsilon(TERMS.noise_multiplier / math.sqrt(2), 1e-5)
    assert ledger.spent() == pytest.approx(both, rel=2e-3)
    assert 4.0 < ledger.spent() < 6.0
    with pytest.raises(BudgetError, match="speaker embedding would bring"):
        release(vectors(), TERMS, ledger)
    assert len(ledger.history()) == 2
    release(vectors(), EmbeddingTerms(4.0, 1e-5, "person"), ledger)  # another unit has a budget of its own
    assert ledger.spent("person") == pytest.approx(4.0, rel=2e-3)


def test_nothing_is_released_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="at least one"):
        release(torch.zeros(0, 4), TERMS, ledger_at(tmp_path))
    assert ledger_at(tmp_path).history() == []


def test_a_guarantee_that_nobody_paid_for_is_refused(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    claimed = SpeakerEmbedding(torch.zeros(4), "d_vector", "hash", TERMS.guarantee)
    with pytest.raises(PrivacyError, match="holds no release"):
        require_paid(claimed, ledger)
    with pytest.raises(PrivacyError, match="without an epsilon"):
        require_paid(SpeakerEmbedding(torch.zeros(4), "d_vector", "hash"), ledger)
    released = release(vectors(), TERMS, ledger)
    require_paid(SpeakerEmbedding(released, "d_vector", "hash", TERMS.guarantee), ledger)
    dearer = SpeakerEmbedding(released, "d_vector", "hash", EmbeddingTerms(3.0, 1e-5).guarantee)
    with pytest.raises(PrivacyError, match="holds no release"):
        require_paid(dearer, ledger)


def test_an_embedding_with_another_releases_terms_is_refused(tmp_path: Path) -> None:
    """Whoever writes the header of a paid release above numbers without noise has paid for nothing."""
    ledger = ledger_at(tmp_path)
    first, second = (release(vectors(), TERMS, ledger) for _ in range(2))
    for own in (first, second):
        require_paid(SpeakerEmbedding(own, "d_vector", "hash", TERMS.guarantee), ledger)
    almost = first.clone()
    almost[0] = torch.nextafter(almost[0], torch.tensor(9.0))
    for forged in (mean_embedding(vectors(), 1.0).float(), almost, first[:-1], torch.zeros(0)):
        with pytest.raises(PrivacyError, match="no release of just this"):
            require_paid(SpeakerEmbedding(forged, "d_vector", "hash", TERMS.guarantee), ledger)
    another = ledger_at(tmp_path / "another")
    release(vectors(), TERMS, another)
    with pytest.raises(PrivacyError, match="no release of just this"):
        require_paid(SpeakerEmbedding(first, "d_vector", "hash", TERMS.guarantee), another)


def test_a_release_is_known_again_in_its_file_and_in_a_profile(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    made = SpeakerEmbedding(release(vectors(), TERMS, ledger), "d_vector", "hash", TERMS.guarantee)
    save_embedding(tmp_path / "me", made)
    for read in (load_embedding(tmp_path / "me"), heard_of(told(made))):
        require_paid(read, ledger)


@pytest.mark.parametrize(
    ("change", "said"), [({"clipping_norm": 0.0}, "above 0"), ({"unit": "family"}, "'person'")]
)
def test_terms_that_mean_nothing_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(PrivacyError, match=said):
        EmbeddingTerms(4.0, 1e-5, **change)  # type: ignore[arg-type]
