"""The length regulator and phoneme means against plain loops."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_models.acoustic.length_regulator import phoneme_means, phoneme_of_frame, regulate
from shared_models.acoustic.variance_adaptor import predicted_frames
from shared_models.layers.sequences import take_window

ROWS = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=7), min_size=1, max_size=4).filter(
    lambda rows: all(sum(row) > 0 for row in rows)
)


def padded(rows: list[list[int]]) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


@given(ROWS)
def test_regulation_repeats_each_phoneme_as_often_as_it_lasts(rows: list[list[int]]) -> None:
    durations = padded(rows)
    sequence = torch.randn(*durations.shape, 3)
    total = int(durations.sum(1).max())
    frames = torch.arange(total).expand(len(rows), -1)
    found = regulate(sequence, durations, frames)
    for index, row in enumerate(rows):
        expected = [sequence[index, phoneme] for phoneme, d in enumerate(row) for _ in range(d)]
        assert torch.equal(found[index, : sum(row)], torch.stack(expected))


@given(ROWS, st.integers(0, 5), st.integers(1, 9))
def test_a_window_is_a_part_of_the_whole(rows: list[list[int]], start: int, width: int) -> None:
    durations = padded(rows)
    sequence = torch.randn(*durations.shape, 3)
    whole = regulate(sequence, durations, torch.arange(start + width).expand(len(rows), -1))
    window = regulate(sequence, durations, (start + torch.arange(width)).expand(len(rows), -1))
    assert torch.equal(window, whole[:, start:])
    starts = torch.full((len(rows),), start)
    assert torch.equal(take_window(whole, starts, width), window)


@given(ROWS, st.integers(0, 2**31))
def test_phoneme_means_are_means_over_the_phoneme_s_frames(rows: list[list[int]], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    durations = padded(rows)
    total = int(durations.sum(1).max())
    values = torch.randn(len(rows), total, generator=g)
    weights = (torch.rand(len(rows), total, generator=g) > 0.5).float()
    found = phoneme_means(values, weights, durations)
    for index, row in enumerate(rows):
        start = 0
        for phoneme, frames in enumerate(row):
            v, w = values[index, start : start + frames], weights[index, start : start + frames]
            expected = float((v * w).sum() / w.sum()) if w.sum() else 0.0
            assert abs(float(found[index, phoneme]) - expected) < 1e-5
            start += frames


def test_gradients_reach_each_phoneme_as_often_as_it_lasts() -> None:
    sequence = torch.zeros(1, 3, 2, requires_grad=True)
    regulate(sequence, torch.tensor([[2, 0, 3]]), torch.arange(5)[None]).sum().backward()
    assert sequence.grad is not None
    assert sequence.grad[0, :, 0].tolist() == [2, 0, 3]
    assert phoneme_of_frame(torch.tensor([[2, 0, 3]]), torch.arange(5)[None]).tolist() == [[0, 0, 2, 2, 2]]


def test_predicted_frames_are_rounded_bounded_and_never_none_at_all() -> None:
    log_duration = torch.log1p(torch.tensor([[0.2, 3.4, 3.6, 1e4], [0.0, 0.1, 0.2, 0.3]]))
    least = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0]])
    assert predicted_frames(log_duration, least, 1.0, 99).tolist() == [[1, 3, 4, 99], [1, 0, 0, 0]]
    assert predicted_frames(log_duration, least, 2.0, 99)[0].tolist() == [1, 7, 7, 99]


def test_carried_remainders_keep_the_total() -> None:
    g = torch.Generator().manual_seed(2)
    wanted = 9 * torch.rand(3, 400, generator=g)
    none = torch.zeros(3, 400, dtype=torch.int64)
    # At half the frames: each is rounded to a whole frame, and all of them together as well.
    carried = predicted_frames(torch.log1p(wanted), none, 0.5, 99, carry=True)
    torch.testing.assert_close(carried.sum(1).float(), 0.5 * wanted.sum(1), rtol=0, atol=0.51)
    assert (carried - 0.5 * wanted).abs().max() < 1
    assert carried.min() == 0
    small = torch.log1p(torch.full((1, 50), 0.4))
    assert predicted_frames(small, none[:1, :50], 1.0, 99).sum() == 1
    assert predicted_frames(small, none[:1, :50], 1.0, 99, carry=True).sum() == 20
    bounded = torch.log1p(torch.tensor([[500.0, 2.0, 0.2]]))
    assert predicted_frames(bounded, torch.ones(1, 3).long(), 1.0, 99, carry=True).tolist() == [[99, 2, 1]]


def test_durations_are_widened_about_their_mean_and_pauses_are_not() -> None:
    wanted = torch.tensor([[4.0, 8.0, 30.0, 12.0, 0.0]])
    least = torch.tensor([[1, 1, 0, 1, 0]])
    wide = predicted_frames(torch.log1p(wanted), least, 1.0, 99, carry=True, spread=1.5)
    assert wide.tolist() == [[2, 8, 30, 14, 0]]
    assert predicted_frames(torch.log1p(wanted), least, 1.0, 99, carry=True, spread=3.0)[0, 0] == 1
