"""The aligner against scipy, an independent dynamic programme, and exhaustive search."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import betabinom
from synthetic_batches import batch_of, random_features, small_model

from shared_models.acoustic.aligner import (
    Aligner,
    best_durations,
    beta_binomial_log_prior,
    binarization_loss,
    forward_sum_loss,
)
from shared_models.layers.sequences import valid_steps
from shared_models.losses import alignment_loss


def test_the_prior_is_the_beta_binomial_distribution() -> None:
    sizes = [(1, 4), (5, 9), (17, 40), (3, 120)]
    phonemes, frames = torch.tensor(sizes).unbind(1)
    found = beta_binomial_log_prior(phonemes, frames, 17, 120)
    for row, (n_phonemes, n_frames) in enumerate(sizes):
        t = np.arange(1, n_frames + 1)[:, None]
        expected = betabinom.logpmf(np.arange(n_phonemes)[None], n_phonemes - 1, t, n_frames + 1 - t)
        np.testing.assert_allclose(found[row, :n_frames, :n_phonemes].numpy(), expected, rtol=1e-8, atol=1e-8)


def ctc_by_dynamic_programming(scores: np.ndarray) -> float:
    """Minus log of the sum over all paths blank* 1 blank* 2 ... L blank*, each phoneme at least once.

    ``scores (T, L)``; blank -1 joins before the softmax. Written from CTC's definition, in float64.
    """
    frames, phonemes = scores.shape
    joined = np.concatenate([np.full((frames, 1), -1.0), scores], axis=1)
    joined = joined - logsumexp(joined, axis=1, keepdims=True)
    states = 2 * phonemes + 1
    label = [0 if s % 2 == 0 else (s + 1) // 2 for s in range(states)]
    alpha = np.full(states, -np.inf)
    alpha[0], alpha[1] = joined[0, 0], joined[0, 1]
    for t in range(1, frames):
        following = np.full(states, -np.inf)
        for s in range(states):
            sources = [alpha[s]]
            if s >= 1:
                sources.append(alpha[s - 1])
            if s >= 2 and s % 2 == 1:
                sources.append(alpha[s - 2])
            following[s] = logsumexp(sources) + joined[t, label[s]]
        alpha = following
    return float(-logsumexp(alpha[-2:]))


def test_the_forward_sum_loss_sums_over_every_monotonic_alignment() -> None:
    g = torch.Generator().manual_seed(0)
    phonemes, frames = torch.tensor([3, 1, 4, 4]), torch.tensor([6, 5, 4, 9])
    scores = 3 * torch.randn(4, 9, 4, generator=g)
    hidden = scores.masked_fill(~valid_steps(phonemes, 4)[:, None], -1e9)
    found = forward_sum_loss(hidden, phonemes, frames)
    for row in range(4):
        length, total = int(phonemes[row]), int(frames[row])
        own = scores[row, :total, :length].double().numpy()
        assert found[row].item() == pytest.approx(ctc_by_dynamic_programming(own) / length, rel=1e-5)


def test_the_dynamic_programme_itself_agrees_with_listing_the_paths() -> None:
    scores = np.random.default_rng(1).normal(size=(4, 2))
    joined = np.concatenate([np.full((4, 1), -1.0), scores], axis=1)
    joined = joined - logsumexp(joined, axis=1, keepdims=True)
    total = -np.inf
    for path in itertools.product(range(3), repeat=4):
        collapsed = [label for label, _ in itertools.groupby(path) if label != 0]
        if collapsed == [1, 2]:
            total = np.logaddexp(total, sum(joined[t, label] for t, label in enumerate(path)))
    assert ctc_by_dynamic_programming(scores) == pytest.approx(-total)


def test_fewer_frames_than_phonemes_give_no_infinite_loss_and_still_durations() -> None:
    batch = batch_of([random_features(9, 60, 1, False), random_features(5, 41, 2, False)])
    batch.mel_lengths[1] = 3
    model = small_model()
    alignment = model.align(batch)
    assert alignment.forward_sum.isfinite().all()
    assert alignment.durations.sum(1).tolist() == [60, 3]
    alignment_loss(alignment).backward()
    assert all(p.grad.isfinite().all() for p in model.aligner.parameters())


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**31))
def test_hard_durations_are_the_likeliest_monotonic_path(phonemes: int, spare: int, seed: int) -> None:
    frames = phonemes + spare
    scores = torch.randn(1, frames, phonemes, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    found = best_durations(scores, torch.tensor([phonemes]), torch.tensor([frames]))[0].tolist()
    best, winner = -math.inf, []
    for cuts in itertools.combinations(range(1, frames), phonemes - 1):
        durations = np.diff([0, *cuts, frames])
        path = np.repeat(np.arange(phonemes), durations)
        value = float(scores[0, torch.arange(frames), torch.from_numpy(path)].double().sum())
        if value > best:
            best, winner = value, durations.tolist()
    assert found == winner


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 40)), min_size=1, max_size=4))
def test_hard_durations_sum_to_the_frames_whatever_the_lengths(sizes: list[tuple[int, int]]) -> None:
    phonemes, frames = (torch.tensor(column) for column in zip(*sizes, strict=True))
    scores = torch.randn(len(sizes), int(frames.max()), int(phonemes.max()))
    durations = best_durations(scores, phonemes, frames)
    assert durations.shape == (len(sizes), int(phonemes.max()))
    assert torch.equal(durations.sum(1), frames)
    assert (durations >= 0).all()
    for row, (length, total) in enumerate(sizes):
        assert (durations[row, length:] == 0).all()
        if total >= length:
            assert (durations[row, :length] >= 1).all()


def test_the_binarization_loss_reads_the_hard_path() -> None:
    soft = torch.randn(2, 4, 3).log_softmax(-1)
    durations, lengths = torch.tensor([[1, 2, 1], [2, 0, 0]]), torch.tensor([4, 2])
    found = binarization_loss(soft, durations, valid_steps(lengths, 4))
    first = -(soft[0, 0, 0] + soft[0, 1, 1] + soft[0, 2, 1] + soft[0, 3, 2]) / 4
    second = -(soft[1, 0, 0] + soft[1, 1, 0]) / 2
    torch.testing.assert_close(found, torch.stack([first, second]))


def test_it_learns_where_the_phonemes_are() -> None:
    """Each symbol is one colour of mel, in any order: ends of phonemes come much nearer than the prior's."""
    torch.manual_seed(0)
    colours = torch.randn(23, 80) * 2 - 5.5
    items = []
    for seed in range(24):
        phonemes, durations = torch.randperm(16)[:6] + 3, torch.randint(4, 16, (6,))
        blank = random_features(6, int(durations.sum()), seed)
        mel = colours[phonemes].repeat_interleave(durations, 0)
        noisy = mel + 0.5 * torch.randn(mel.shape)
        items.append(replace(blank, phonemes=phonemes, durations=durations, mel=noisy))
    batch = batch_of(items)
    aligner = Aligner(23, 80, 32)
    optimizer = torch.optim.Adam(aligner.parameters(), lr=5e-3)
    assert batch.durations is not None
    truth = batch.durations.cumsum(1)

    def error() -> float:
        return float((aligner(batch).durations.cumsum(1) - truth).abs().float().mean())

    before = error()
    for _ in range(50):
        optimizer.zero_grad()
        alignment_loss(aligner(batch)).backward()
        optimizer.step()
    assert error() < 0.6 * before, (before, error())
