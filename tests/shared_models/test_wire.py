"""The wire form: what is sent comes back, and anything else is refused with both sides' values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from shared_models import wire
from shared_models.errors import WireError
from shared_models.partition import Owner, PartitionedModel


class Shared(nn.Module):
    belongs_to = Owner.SHARED

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(size))


class Personal(nn.Module):
    belongs_to = Owner.PERSONAL

    def __init__(self, size: int) -> None:
        super().__init__()
        self.voice = nn.Parameter(torch.full((size,), 7.0))

    @torch.no_grad()
    def reset(self) -> None:
        self.voice.fill_(7.0)


class Both(nn.Module):
    def __init__(self, shared: int, personal: int) -> None:
        super().__init__()
        self.shared = Shared(shared)
        self.personal = Personal(personal)


def model_of(shared: int, personal: int = 3) -> PartitionedModel[Both]:
    return PartitionedModel(Both(shared, personal))


def update_of(model: PartitionedModel[Both], vector: Tensor, number: int = 4) -> wire.Update:
    return wire.Update(model.partition.schema, number, vector)


class Region:
    """An outbox of one buffer, as an engine has it in shared memory."""

    def __init__(self, nbytes: int) -> None:
        self.memory = bytearray(nbytes)
        self.allocations: list[tuple[int, int]] = []

    def allocate(self, nbytes: int) -> memoryview:
        view = memoryview(self.memory)[:nbytes]
        self.allocations.append((torch.frombuffer(view, dtype=torch.uint8).data_ptr(), nbytes))
        return view

    def find(self, address: int, nbytes: int) -> memoryview | None:
        return memoryview(self.memory)[:nbytes] if (address, nbytes) in self.allocations else None


floats = st.lists(st.floats(width=32, allow_nan=True), max_size=40)


@given(numbers=floats, personal=st.integers(1, 5), number=st.integers(0, 10**6))
def test_an_update_comes_back_bit_for_bit(numbers: list[float], personal: int, number: int) -> None:
    model = model_of(len(numbers), personal)
    vector = torch.tensor(numbers, dtype=torch.float32)

    header, buffer = wire.encode(model, update_of(model, vector, number))
    back = wire.decode(header, buffer, model.partition, kind="update", round=number)

    assert isinstance(back, wire.Update)
    assert (back.schema, back.round) == (model.partition.schema, number)
    assert back.vector.numpy().tobytes() == vector.numpy().tobytes()
    assert len(buffer) == 4 * len(numbers)


@given(numbers=floats.filter(bool))
def test_the_buffer_is_little_endian_float32_in_order(numbers: list[float]) -> None:
    vector = torch.tensor(numbers, dtype=torch.float32)
    model = model_of(len(numbers))
    _, buffer = wire.encode(model, update_of(model, vector))
    assert bytes(buffer) == np.array(numbers, dtype="<f4").tobytes()


def test_weights_come_back_without_a_copy() -> None:
    model = model_of(6)
    header, buffer = wire.encode_weights(wire.Weights(model.partition.schema, 2, torch.arange(6.0)))
    shown = bytearray(buffer)
    weights = wire.decode(header, memoryview(shown), model.partition, kind="weights")
    assert weights.vector.tolist() == [0, 1, 2, 3, 4, 5]
    shown[:4] = np.float32(9).tobytes()
    assert weights.vector[0] == 9


def test_the_header_holds_scalars_alone() -> None:
    model = model_of(3)
    header, _ = wire.encode(model, update_of(model, torch.zeros(3)))
    assert header == {
        "kind": "update",
        "schema": model.partition.schema,
        "round": 4,
        "size": 3,
        "dtype": "float32",
    }


def test_an_update_is_the_shared_set_less_its_start() -> None:
    model = model_of(5)
    start = torch.arange(5.0)
    model.load_shared_vector(start + 0.5)
    update = wire.form_update(model, start, 3)
    assert update.vector.tolist() == [0.5] * 5
    assert (update.schema, update.round) == (model.partition.schema, 3)
    with pytest.raises(WireError, match="4 coordinates"):
        wire.form_update(model, torch.zeros(4), 3)


@given(shared=st.integers(1, 30), personal=st.integers(1, 30))
def test_nothing_personal_is_in_the_buffer(shared: int, personal: int) -> None:
    model = model_of(shared, personal)
    _, buffer = wire.encode(model, wire.form_update(model, torch.zeros(shared), 1))
    assert len(buffer) == 4 * shared
    assert np.float32(7).tobytes() not in bytes(buffer)


@pytest.mark.parametrize(
    "make",
    [lambda m: m.model.state_dict(), lambda m: m.model, lambda m: m.personal_state(), lambda _: None],
    ids=["state dict", "bare model", "personal state", "nothing"],
)
def test_only_a_partitioned_model_is_encoded(make: Callable[[Any], Any]) -> None:
    model = model_of(4)
    update = update_of(model, torch.zeros(4))
    with pytest.raises(WireError, match="only a partitioned model is sent"):
        wire.encode(make(model), update)
    with pytest.raises(WireError, match="only a partitioned model is sent"):
        wire.form_update(make(model), torch.zeros(4), 1)


def test_only_an_update_is_encoded() -> None:
    model = model_of(4)
    for wrong in (model.shared_vector(), {"weights": torch.zeros(4)}, model.personal_state()):
        with pytest.raises(WireError, match="only an Update"):
            wire.encode(model, wrong)  # type: ignore[arg-type]
        with pytest.raises(WireError, match="only Weights"):
            wire.encode_weights(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("vector", [torch.zeros(3), torch.zeros(2, 2), torch.zeros(4, dtype=torch.float64)])
def test_a_vector_that_is_not_the_shared_set_is_not_encoded(vector: Tensor) -> None:
    model = model_of(4)
    with pytest.raises(WireError, match=r"float32 of \(4,\)"):
        wire.encode(model, update_of(model, vector))


def test_an_update_of_another_model_is_not_encoded() -> None:
    model, other = model_of(4), model_of(5)
    with pytest.raises(WireError, match=f"{other.partition.schema}.*{model.partition.schema}"):
        wire.encode(model, update_of(other, torch.zeros(4)))


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("schema", "0" * 16, "0000000000000000"),
        ("size", 5, "size 5 where this side has 4"),
        ("size", True, "size True"),
        ("round", 9, "round 9 where this side has 4"),
        ("dtype", "float16", "'float16' where this side has 'float32'"),
        ("kind", "weights", "'weights' where this side has 'update'"),
        ("schema", None, "schema None"),
    ],
)
def test_a_mismatch_names_both_sides(field: str, value: object, names: str) -> None:
    model = model_of(4)
    header, buffer = wire.encode(model, update_of(model, torch.zeros(4)))
    with pytest.raises(WireError, match=names):
        wire.decode(header | {field: value}, buffer, model.partition, kind="update", round=4)  # type: ignore[dict-item]


@pytest.mark.parametrize("field", ["kind", "schema", "round", "size", "dtype"])
def test_a_header_that_lacks_a_field_is_refused(field: str) -> None:
    model = model_of(4)
    header, buffer = wire.encode(model, update_of(model, torch.zeros(4)))
    del header[field]
    with pytest.raises(WireError, match=field):
        wire.decode(header, buffer, model.partition, kind="update", round=4)


@pytest.mark.parametrize("number", [-1, "4", 4.0, True, None])
def test_a_round_that_is_no_number_is_refused(number: object) -> None:
    model = model_of(4)
    header, buffer = wire.encode(model, update_of(model, torch.zeros(4)))
    with pytest.raises(WireError, match="round"):
        wire.decode({**header, "round": number}, buffer, model.partition, kind="update")


@given(length=st.integers(0, 40).filter(lambda n: n != 16))
def test_a_truncated_buffer_is_refused(length: int) -> None:
    model = model_of(4)
    header, _ = wire.encode(model, update_of(model, torch.zeros(4)))
    with pytest.raises(WireError, match=f"{length} bytes where 4 coordinates take 16"):
        wire.decode(header, bytes(length), model.partition, kind="update", round=4)


def test_a_buffer_of_another_type_is_refused() -> None:
    model = model_of(4)
    header, _ = wire.encode(model, update_of(model, torch.zeros(4)))
    with pytest.raises(WireError, match="list"):
        wire.decode(header, [0.0] * 4, model.partition, kind="update")  # type: ignore[arg-type]


def test_an_update_formed_in_the_outbox_is_sent_without_a_copy() -> None:
    model, region = model_of(4), Region(16)
    model.load_shared_vector(torch.arange(4.0))
    with wire.sending_from(region):
        update = wire.form_update(model, torch.zeros(4), 1)
        _, buffer = wire.encode(model, update)
    assert len(region.allocations) == 1
    assert isinstance(buffer, memoryview)
    assert buffer.obj is region.memory
    assert np.frombuffer(region.memory, dtype="<f4").tolist() == [0, 1, 2, 3]


def test_an_update_formed_elsewhere_is_copied_into_the_outbox() -> None:
    model, region = model_of(4), Region(16)
    with wire.sending_from(region):
        _, buffer = wire.encode(model, update_of(model, torch.ones(4)))
    assert bytes(buffer) == np.ones(4, dtype="<f4").tobytes() == bytes(region.memory)


def test_outside_of_an_engine_bytes_are_sent() -> None:
    model = model_of(4)
    with wire.sending_from(Region(16)):
        pass
    assert type(wire.encode(model, update_of(model, wire.outgoing_vector(4)))[1]) is bytes
