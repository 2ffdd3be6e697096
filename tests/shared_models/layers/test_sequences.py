"""Operations on padded sequences against plain loops."""

from __future__ import annotations

import pytest
import torch

from shared_models.layers.sequences import masked_mean, take_window, valid_steps, window_starts


def test_masked_mean_of_nothing_is_zero() -> None:
    values, lengths = torch.ones(2, 3), torch.tensor([2, 0])
    assert masked_mean(values, valid_steps(lengths, 3)).tolist() == [1.0, 0.0]


def test_masked_mean_is_the_mean_of_each_sequence_s_own_steps() -> None:
    values, lengths = torch.randn(3, 5), torch.tensor([5, 2, 1])
    found = masked_mean(values, valid_steps(lengths, 5))
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[row], values[row, :length].mean())


@pytest.mark.parametrize("window", [1, 4, 9])
def test_a_random_window_lies_within_each_sequence_and_every_place_is_drawn(window: int) -> None:
    lengths = torch.tensor([3, 6, 9])
    rng = torch.Generator().manual_seed(1)
    drawn = torch.stack([window_starts(lengths, window, rng) for _ in range(200)])
    for row, length in enumerate(lengths.tolist()):
        assert set(drawn[:, row].tolist()) == set(range(max(0, length - window) + 1))
    sequence = torch.arange(2 * 9).view(2, 9, 1)
    taken = take_window(sequence, torch.tensor([2, 6]), 3)
    assert taken.flatten(1).tolist() == [[2, 3, 4], [15, 16, 17]]
