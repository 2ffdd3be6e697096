"""Indices come back, in close to the fewest bits, and what is not ascending is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_models.compression.sorted_indices import decode_indices, encode_indices, lengths
from shared_models.errors import WireError


@given(data=st.data(), size=st.integers(1, 5000))
def test_they_come_back(data: st.DataObject, size: int) -> None:
    chosen = data.draw(st.sets(st.integers(0, size - 1), max_size=min(size, 200)))
    indices = np.array(sorted(chosen), dtype=np.int64)
    encoded = encode_indices(indices, size)
    assert len(encoded) == sum(lengths(len(indices), size))
    assert decode_indices(memoryview(encoded), len(indices), size).tolist() == indices.tolist()


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2])
def test_within_a_bit_of_the_entropy(share: float) -> None:
    size = 1_000_000
    count = int(share * size)
    entropy = -(share * math.log2(share) + (1 - share) * math.log2(1 - share)) / share
    assert 8 * sum(lengths(count, size)) / count < entropy + 1


def test_too_few_marks_are_refused() -> None:
    encoded = bytearray(encode_indices(np.arange(10, dtype=np.int64) * 9, 100))
    encoded[sum(lengths(10, 100)[:1])] = 0
    with pytest.raises(WireError, match="marks"):
        decode_indices(memoryview(bytes(encoded)), 10, 100)


def test_an_index_sent_twice_is_refused() -> None:
    encoded = encode_indices(np.array([3, 3, 50], dtype=np.int64), 100)
    with pytest.raises(WireError, match="not ascending"):
        decode_indices(memoryview(encoded), 3, 100)
