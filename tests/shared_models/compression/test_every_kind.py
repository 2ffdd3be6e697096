"""Whatever the kind: what is decoded comes near what was sent, keeps to the norm, and nothing else is accepted."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from server.aggregation import StreamingSum
from server.validation import validate_update
from shared_models.clipping import clip, l2_norm
from shared_models.compression import Bounded, CompressionConfig, bytes_a_round, update_codec, weights_codec
from shared_models.errors import WireError
from shared_models.partition import Owner, Partition

KINDS: list[dict[str, Any]] = [
    {"up": "float16"},
    {"up": "int8", "block": 16},
    {"up": "int4", "block": 16},
    {"up": "int2", "block": 8},
    {"up": "top_k", "share": 0.1},
    {"up": "top_k", "share": 0.1, "values": "int4", "block": 8},
    {"up": "top_k", "share": 0.003, "values": "float32"},
    {"up": "low_rank", "rank": 2},
    {"up": "low_rank", "rank": 3, "values": "float16"},
    {"up": "low_rank", "rank": 4, "values": "float32"},
]
kinds = pytest.mark.parametrize("settings", KINDS, ids=str)


class Layers(nn.Module):
    """A matrix, a convolution, a vector, and a matrix too small to be factored."""

    belongs_to = Owner.SHARED

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(24, 32)
        self.convolution = nn.Conv1d(8, 20, 3)
        self.small = nn.Linear(2, 3)


PARTITION = Partition.of(Layers())
SIZE = PARTITION.size


def codec_of(settings: dict[str, Any]) -> Bounded:
    codec = update_codec(CompressionConfig(**settings), PARTITION)
    assert codec is not None
    return codec


def draws(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))


@kinds
@given(
    seed=st.integers(0, 2**31),
    exponent=st.integers(-30, 18),
    heavy=st.booleans(),
    norm=st.floats(1e-9, 1e6),
)
def test_the_decoded_norm_never_exceeds_the_clipping_norm(
    settings: dict[str, Any], seed: int, exponent: int, heavy: bool, norm: float
) -> None:
    codec = codec_of(settings)
    vector = draws(seed, 10.0**exponent)
    if heavy:
        vector[seed % SIZE] *= 1e6
    clipped, _ = clip(vector, norm)
    payload, decoded = codec.compress(clipped, np.random.default_rng(seed), limit=norm)
    assert l2_norm(decoded) <= norm * (1 + 1e-6)
    assert torch.equal(codec.decompress(payload), decoded)


@kinds
@given(
    numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    limit=st.floats(1e-6, 1e3),
)
def test_any_finite_vector_is_sent_in_the_length_that_is_known_beforehand(
    settings: dict[str, Any], numbers: list[float], limit: float
) -> None:
    codec = codec_of(settings)
    vector = torch.tensor(numbers).repeat(-(-SIZE // len(numbers)))[:SIZE]
    clipped, _ = clip(vector, limit)
    payload, decoded = codec.compress(clipped, np.random.default_rng(1), limit=limit)
    assert len(payload) == codec.length
    assert l2_norm(decoded) <= limit * (1 + 1e-6)


@kinds
def test_the_server_adds_an_update_of_the_clipping_norm_and_none_above(settings: dict[str, Any]) -> None:
    codec = codec_of(settings)
    clipped, _ = clip(draws(3), 0.25)
    _, decoded = codec.compress(clipped, np.random.default_rng(3), limit=0.25)
    validate_update(decoded, SIZE, 0.25)
    total = StreamingSum(SIZE)
    total.add(decoded)
    assert torch.allclose(total.mean(1), decoded, atol=1e-10)
    payload, _ = codec.compress(draws(3))
    with pytest.raises(WireError, match="clipping norm"):
        validate_update(codec.decompress(payload), SIZE, 0.25)


@kinds
def test_zeros_stay_zeros(settings: dict[str, Any]) -> None:
    codec = codec_of(settings)
    payload, decoded = codec.compress(torch.zeros(SIZE), np.random.default_rng(1), limit=1.0)
    assert not decoded.any()
    assert len(payload) == codec.length


@kinds
def test_the_same_draws_give_the_same_bytes(settings: dict[str, Any]) -> None:
    codec = codec_of(settings)
    one = codec.compress(draws(5), np.random.default_rng(9))[0]
    assert one == codec.compress(draws(5), np.random.default_rng(9))[0]
    assert codec.name == codec_of(settings).name


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@kinds
def test_what_is_not_finite_is_not_sent(settings: dict[str, Any], bad: float) -> None:
    vector = draws(1)
    vector[7] = bad
    with pytest.raises(WireError, match="NaN or infinite"):
        codec_of(settings).compress(vector, np.random.default_rng(1))


@kinds
@given(data=st.data())
def test_any_bytes_are_decoded_or_refused(settings: dict[str, Any], data: st.DataObject) -> None:
    codec = codec_of(settings)
    length = data.draw(st.sampled_from([codec.length, codec.length - 1, codec.length + 1, 0, 7]))
    start = data.draw(st.binary(max_size=min(64, length)))
    fill = data.draw(st.sampled_from([b"\x00", b"\xff", b"\x7f", b"\x01"]))
    payload = start + fill * (length - len(start))
    if data.draw(st.booleans()) and length > 4:
        payload = struct.pack("<f", 1.0) + payload[4:]
    try:
        decoded = codec.decompress(payload)
    except WireError:
        return
    assert length == codec.length
    assert decoded.shape == (SIZE,)
    assert decoded.dtype is torch.float32


@kinds
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_is_decoded_or_refused(settings: dict[str, Any], place: int, bit: int) -> None:
    codec = codec_of(settings)
    payload = bytearray(codec.compress(draws(2), np.random.default_rng(2))[0])
    payload[place % len(payload)] ^= 1 << bit
    with contextlib.suppress(WireError):
        assert codec.decompress(bytes(payload)).shape == (SIZE,)


@kinds
def test_a_wrong_length_is_told_with_both_numbers(settings: dict[str, Any]) -> None:
    codec = codec_of(settings)
    with pytest.raises(
        WireError, match=f"{codec.length - 1} bytes where {SIZE} coordinates take {codec.length}"
    ):
        codec.decompress(bytes(codec.length - 1))


@pytest.mark.parametrize("factor", [1.5, -0.1, float("nan"), float("inf")])
def test_a_factor_that_lengthens_is_refused(factor: float) -> None:
    codec = codec_of({"up": "int8"})
    payload = codec.compress(draws(1))[0]
    with pytest.raises(WireError, match=r"factor|scale"):
        codec.decompress(struct.pack("<f", factor) + payload[4:])


@pytest.mark.parametrize(
    ("settings", "largest"),
    [({"up": "float16"}, 1e-3), ({"up": "int8"}, 0.03), ({"up": "int4", "block": 16}, 0.3),
     ({"up": "top_k", "share": 1.0, "values": "float32"}, 1e-7), ({"up": "low_rank", "rank": 8}, 1.0)],
    ids=str,
)  # fmt: skip
def test_little_is_lost(settings: dict[str, Any], largest: float) -> None:
    vector = draws(4, 1e-4)
    decoded = codec_of(settings).compress(vector, np.random.default_rng(4))[1]
    assert float((decoded - vector).norm() / vector.norm()) <= largest


@pytest.mark.parametrize("kind", ["int8", "int4", "int2"])
def test_rounding_at_random_is_right_on_average(kind: str) -> None:
    """Nearest rounding would leave a bias of a large part of a level, whatever the number of draws."""
    codec, vector, repeats = codec_of({"up": kind, "block": 64}), draws(6), 400
    rng = np.random.default_rng(6)
    decoded = [codec.compress(vector, rng)[1] for _ in range(repeats)]
    mean, single = torch.stack(decoded).mean(0), float((decoded[0] - vector).norm())
    assert float((mean - vector).norm()) < 2 * single / repeats**0.5


def test_top_k_sends_the_largest() -> None:
    codec = codec_of({"up": "top_k", "share": 0.02, "values": "float32"})
    vector = draws(8)
    decoded = codec.compress(vector)[1]
    expected = vector.abs().topk(int(decoded.count_nonzero())).indices
    assert sorted(decoded.nonzero().flatten().tolist()) == sorted(expected.tolist())
    assert torch.equal(decoded[expected], vector[expected])


def test_low_rank_keeps_a_matrix_of_that_rank_and_what_is_no_matrix() -> None:
    codec = codec_of({"up": "low_rank", "rank": 2, "values": "float32"})
    tensors = {t.name: t for t in PARTITION.shared}
    vector = draws(9, 1e-5)
    linear = tensors["linear.weight"]
    rng = torch.Generator().manual_seed(9)
    matrix = torch.randn(32, 2, generator=rng) @ torch.randn(2, 24, generator=rng) * 1e-5
    vector[linear.start : linear.stop] = matrix.flatten()
    decoded = codec.compress(vector, np.random.default_rng(9))[1]
    for name in ("linear.weight", "linear.bias", "small.weight"):
        part = slice(tensors[name].start, tensors[name].stop)
        assert torch.allclose(decoded[part], vector[part], atol=1e-9), name


def test_bytes_a_round_are_those_of_the_codecs() -> None:
    config = CompressionConfig(up="top_k", down="int4", delta=True)
    down, up = bytes_a_round(config, PARTITION)
    weights = weights_codec(config, PARTITION)
    assert weights is not None
    assert (down, up) == (
        len(weights.compress(draws(1))[0]),
        len(codec_of({"up": "top_k"}).compress(draws(1))[0]),
    )
    assert bytes_a_round(CompressionConfig(), PARTITION) == (4 * SIZE, 4 * SIZE)
    assert update_codec(CompressionConfig(), PARTITION) is None
