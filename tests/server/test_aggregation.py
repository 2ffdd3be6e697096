"""Clipping, and the exact sum."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from server import aggregation
from server.aggregation import LARGEST_COORDINATE, StreamingSum
from server.validation import validate_update
from shared_models.clipping import clip, l2_norm
from shared_models.errors import PrivacyError, WireError
from shared_models.partition import Owner, PartitionedModel

SIZE = 9
any_floats = hnp.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)
updates = st.lists(
    hnp.arrays(np.float32, SIZE, elements=st.floats(-64, 64, width=32)), min_size=1, max_size=8
)


@given(values=any_floats, norm=st.floats(1e-9, 1e9), in_place=st.booleans())
def test_clipping_is_total_and_never_exceeds_the_norm(
    values: np.ndarray, norm: float, in_place: bool
) -> None:
    update = torch.from_numpy(values.copy())
    before = float(np.linalg.norm(values.astype(np.float64)))
    clipped, found = clip(update, norm, in_place=in_place)
    assert found == pytest.approx(before, rel=1e-12)
    assert float(np.linalg.norm(clipped.numpy().astype(np.float64))) <= norm * (1 + 1e-6)
    if before <= norm:
        assert np.array_equal(clipped.numpy(), values)
    if not in_place:
        assert np.array_equal(update.numpy(), values)
    if norm <= LARGEST_COORDINATE:
        validate_update(clipped, len(values), norm)


@pytest.mark.parametrize("times", [0.5, 1.0, 1.001, 1.9, 2.1, 1e6])
def test_an_update_above_the_norm_is_clipped_and_no_other(times: float) -> None:
    vector = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    vector *= 0.5 * times / l2_norm(vector)
    clipped, before = clip(vector, 0.5)
    assert before == pytest.approx(0.5 * times, rel=1e-6)
    assert l2_norm(clipped) == pytest.approx(0.5 * min(times, 1.0), rel=1e-6)


def test_clipping_keeps_the_direction_and_uses_the_norm_up() -> None:
    update = torch.randn(300_000, generator=torch.Generator().manual_seed(1))
    clipped, _ = clip(update, 0.5)
    assert l2_norm(clipped) == pytest.approx(0.5, rel=1e-6)
    assert float(torch.cosine_similarity(clipped.double(), update.double(), dim=0)) == pytest.approx(1.0)


@pytest.mark.parametrize("norm", [1e-6, 1.0])
def test_a_zero_update_stays_zero(norm: float) -> None:
    clipped, before = clip(torch.zeros(5), norm)
    assert before == 0.0
    assert torch.equal(clipped, torch.zeros(5))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 70_000, 139_999])
def test_nan_and_infinity_are_refused_wherever_they_are(bad: float, place: int) -> None:
    update = torch.zeros(140_000)
    update[place] = bad
    with pytest.raises(WireError, match="NaN or infinite"):
        clip(update, 1.0)
    for limit in (None, 1.0):
        with pytest.raises(WireError, match="NaN or infinite"):
            validate_update(update, 140_000, limit)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float16, torch.float64])
def test_other_numbers_than_float32_are_refused(dtype: torch.dtype) -> None:
    update = torch.ones(4).to(dtype)
    with pytest.raises(WireError, match="only float32"):
        clip(update, 1.0)
    with pytest.raises(WireError, match="only float32"):
        validate_update(update, 4, None)
    with pytest.raises(WireError, match="only float32"):
        StreamingSum(4).add(update)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_clipping_norm_is_refused(norm: float) -> None:
    with pytest.raises(PrivacyError, match="clipping norm"):
        clip(torch.ones(3), norm)


def test_validation_names_what_is_wrong() -> None:
    with pytest.raises(WireError, match="3 coordinates where the model has 4"):
        validate_update(torch.zeros(3), 4, None)
    with pytest.raises(WireError, match="clipping norm is 1"):
        validate_update(torch.tensor([1.0, 0.01]), 2, 1.0)
    with pytest.raises(WireError, match="by 65"):
        validate_update(torch.tensor([65.0]), 1, None)
    with pytest.raises(WireError, match="by 3e"):
        validate_update(torch.tensor([3e38]), 1, None)
    validate_update(torch.tensor([1.0 + 5e-6]), 1, 1.0)
    validate_update(torch.full((100,), 60.0), 100, None)


@given(values=updates, seed=st.integers(0, 100))
def test_the_sum_does_not_depend_on_order_grouping_or_process(values: list[np.ndarray], seed: int) -> None:
    given_updates = [torch.from_numpy(v) for v in values]
    one_by_one, together, left, right = (StreamingSum(SIZE) for _ in range(4))
    for update in given_updates:
        one_by_one.add(update)
    shuffled = random.Random(seed).sample(given_updates, len(given_updates))
    together.add_many(shuffled)
    cut = seed % (len(shuffled) + 1)
    left.add_many(shuffled[:cut])
    right.add_many(shuffled[cut:])
    left.merge(right)
    for other in (together, left):
        assert other.count == len(values)
        assert torch.equal(other.mean(3.0), one_by_one.mean(3.0))


@given(values=updates, denominator=st.floats(0.5, 100.0))
def test_the_mean_is_the_exact_one_rounded_once(values: list[np.ndarray], denominator: float) -> None:
    total = StreamingSum(SIZE)
    for value in values:
        total.add(torch.from_numpy(value))
    exact = [math.fsum(float(value[i]) for value in values) / denominator for i in range(SIZE)]
    found = total.mean(denominator).double().numpy()
    # Half a last place of float32, and half a unit of fixed point for each update.
    tolerance = np.abs(exact) * 2.0**-23 + len(values) * 2.0**-36 / denominator
    assert np.all(np.abs(found - exact) <= tolerance)


def test_floating_point_would_have_depended_on_order() -> None:
    """The property above is not an empty one: float32 sums of the same numbers differ."""
    numbers = [torch.tensor([value]) for value in (1.0, 2.0**-24, 2.0**-24)]
    assert (numbers[0] + numbers[1]) + numbers[2] != numbers[0] + (numbers[1] + numbers[2])
    first, second = StreamingSum(1), StreamingSum(1)
    first.add_many(numbers)
    second.add_many(numbers[::-1])
    assert first.mean(1.0) == second.mean(1.0) == 1.0 + 2.0**-23


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_sum_that_is_allowed_does_not_overflow(sign: float) -> None:
    total = StreamingSum(1)
    total.add(torch.tensor([sign * LARGEST_COORDINATE]))
    for _ in range(20):
        total.merge(total)
    assert total.count == aggregation.MOST_UPDATES
    assert total.mean(total.count) == torch.tensor([sign * LARGEST_COORDINATE])
    for more in (lambda: total.add(torch.zeros(1)), lambda: total.merge(total)):
        with pytest.raises(WireError, match="updates in one sum"):
            more()


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_blocks_join_up(sizes: list[int]) -> None:
    """Sizes below, at and across the block's: every coordinate is added once and in its place."""
    size = 200_003
    seed = torch.Generator().manual_seed(sum(sizes))
    given_updates = [torch.randn(size, generator=seed) for _ in sizes]
    total = StreamingSum(size)
    total.add_many(given_updates)
    reference = torch.stack([u.double() for u in given_updates]).mean(0)
    torch.testing.assert_close(total.mean(len(sizes)).double(), reference, rtol=1e-7, atol=1e-10)


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=6))
def test_amounts_of_data_give_nobody_more_weight(amounts: list[int]) -> None:
    """Nothing an update carries can weigh it: who holds ten thousand utterances counts once."""
    total = StreamingSum(1)
    for number, _ in enumerate(amounts):
        total.add(torch.tensor([float(number)]))
    assert float(total.mean(total.count)) == pytest.approx(sum(range(len(amounts))) / len(amounts), rel=1e-6)


def test_dropouts_do_not_change_a_fixed_denominator() -> None:
    total = StreamingSum(2)
    for _ in range(3):  # of the eight that were expected
        total.add(torch.tensor([0.5, -1.0]))
    assert total.mean(8).tolist() == [3 * 0.5 / 8, -3 / 8]


@given(huge=st.floats(1e-3, 1e30), cohort=st.integers(1, 9))
def test_one_huge_client_moves_the_mean_by_at_most_its_share(huge: float, cohort: int) -> None:
    norm = 0.5
    others = [torch.full((SIZE,), 0.01 * i) for i in range(cohort - 1)]
    with_it, without = StreamingSum(SIZE), StreamingSum(SIZE)
    for update in others:
        with_it.add(clip(update, norm)[0])
        without.add(clip(update, norm)[0])
    with_it.add(clip(torch.full((SIZE,), huge), norm)[0])
    moved = with_it.mean(cohort).double() - without.mean(cohort).double()
    assert float(moved.norm()) <= norm / cohort * (1 + 1e-5)


class Scalars(nn.Module):
    """A model with 0-d, empty-adjacent and ordinary parameters."""

    belongs_to = Owner.SHARED

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.weight = nn.Parameter(torch.ones(2, 3))


def test_zero_dimensional_tensors_are_coordinates_like_others() -> None:
    clipped, before = clip(torch.tensor(3.0), 1.0)
    assert (clipped.tolist(), before) == ([pytest.approx(1.0)], 3.0)
    model = PartitionedModel(Scalars())
    total = StreamingSum(model.partition.size)
    total.add(clip(model.shared_vector(), 100.0)[0])
    model.load_shared_vector(total.mean(2))
    assert model.model.temperature.shape == ()
    assert model.model.temperature.item() == 1.0
    assert torch.equal(model.model.weight.detach(), torch.full((2, 3), 0.5))
