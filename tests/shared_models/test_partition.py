"""The partition is total, fails closed, and its flat vector holds nothing personal."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_batches import small_model
from torch import nn

from shared_models.config import AlignerConfig, SpeakerConfig
from shared_models.errors import PartitionError
from shared_models.partition import Owner, Partition, PartitionedModel

SHARED_VALUE, PERSONAL_VALUE, FROZEN_VALUE = 1.0, -12345.0, 321.0
START = 0.25


class Declared(nn.Module):
    """A module of ours: an owner or None, a linear layer and children."""

    def __init__(self, owner: Owner | None, children: list[Declared]) -> None:
        super().__init__()
        self.belongs_to = owner
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.layer = nn.Linear(2, 2)
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.parts = nn.ModuleList(children)

    def reset(self) -> None:
        """Begin at :data:`START`, with all that lies within."""
        for parameter in self.parameters():
            parameter.fill_(START)


def trees(owners: st.SearchStrategy[Owner | None]) -> st.SearchStrategy[Declared]:
    leaf = st.builds(Declared, owners, st.just([]))
    return st.recursive(
        leaf, lambda inner: st.builds(Declared, owners, st.lists(inner, max_size=3)), max_leaves=6
    )


def effective_owners(module: Declared, inherited: Owner | None) -> list[tuple[nn.Parameter, Owner | None]]:
    """The rule, written a second time: one's own declaration, or else the nearest enclosing one."""
    owner = module.belongs_to or inherited
    own = [(p, owner) for p in (module.weight, module.layer.weight, module.layer.bias)]
    return own + [pair for child in module.parts for pair in effective_owners(child, owner)]


def legal(module: Declared, inherited: Owner | None) -> bool:
    owner = module.belongs_to or inherited
    if owner is None or (inherited is Owner.PERSONAL and module.belongs_to is Owner.SHARED):
        return False
    return all(legal(child, owner) for child in module.parts)


@settings(max_examples=150)
@given(trees(st.sampled_from([Owner.SHARED, Owner.PERSONAL, None])))
def test_no_personal_value_ever_reaches_the_shared_vector(tree: Declared) -> None:
    if not legal(tree, None):
        with pytest.raises(PartitionError):
            Partition.of(tree)
        return
    owned = effective_owners(tree, None)
    with torch.no_grad():
        for parameter, owner in owned:
            parameter.fill_(PERSONAL_VALUE if owner is Owner.PERSONAL else SHARED_VALUE)
    model = PartitionedModel(tree)
    vector = model.shared_vector()
    assert len(vector) == sum(p.numel() for p, owner in owned if owner is Owner.SHARED)
    assert (vector == SHARED_VALUE).all()
    model.load_shared_vector(torch.full_like(vector, 7.0))
    for parameter, owner in owned:
        assert (parameter == (PERSONAL_VALUE if owner is Owner.PERSONAL else 7.0)).all()


@settings(max_examples=100)
@given(trees(st.sampled_from([Owner.SHARED, Owner.PERSONAL, Owner.FROZEN])))
def test_what_is_frozen_neither_travels_nor_trains_nor_is_anybodys(tree: Declared) -> None:
    owned = effective_owners(tree, None)
    values = {Owner.SHARED: SHARED_VALUE, Owner.PERSONAL: PERSONAL_VALUE, Owner.FROZEN: FROZEN_VALUE}
    with torch.no_grad():
        for parameter, owner in owned:
            assert owner is not None
            parameter.fill_(values[owner])
    if not legal(tree, None):
        with pytest.raises(PartitionError):
            Partition.of(tree)
        return
    model = PartitionedModel(tree)
    assert (model.shared_vector() == SHARED_VALUE).all()
    assert all((tensor == PERSONAL_VALUE).all() for tensor in model.personal_state().values())
    assert all(parameter.requires_grad == (owner is not Owner.FROZEN) for parameter, owner in owned)
    everything = PartitionedModel(tree, Partition.of(tree, share_everything=True)).shared_vector()
    assert not (everything == FROZEN_VALUE).any()
    assert len(everything) == sum(p.numel() for p, owner in owned if owner is not Owner.FROZEN)


@settings(max_examples=100)
@given(trees(st.sampled_from([Owner.SHARED, Owner.PERSONAL, Owner.FROZEN])))
def test_starting_anew_touches_the_personal_set_and_nothing_else(tree: Declared) -> None:
    if not legal(tree, None):
        return
    for parameter in tree.parameters():
        nn.init.constant_(parameter, SHARED_VALUE)
    model = PartitionedModel(tree)
    model.reset_personal()
    personal = {id(parameter) for parameter in model.personal_parameters()}
    inside = {id(p) for module in model.personal_modules() for p in module.parameters()}
    assert personal <= inside
    for parameter in tree.parameters():
        assert (parameter == (START if id(parameter) in inside else SHARED_VALUE)).all()
    shared = PartitionedModel(tree, Partition.of(tree, share_everything=True))
    assert shared.personal_modules() == []


def test_a_personal_module_says_how_it_begins_or_is_refused() -> None:
    class Silent(nn.Module):
        belongs_to = Owner.PERSONAL

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1, 3)

    model = small_model()
    model.silent = Silent()
    with pytest.raises(PartitionError, match=r"'silent' \(Silent\).*reset\(\)"):
        Partition.of(model)


def test_two_bases_with_other_frozen_parts_never_pass_for_one() -> None:
    def schema_with(frozen: nn.Module | None) -> str:
        model = small_model()
        if frozen is not None:
            frozen.belongs_to = Owner.FROZEN
            model.extractor = frozen
        return Partition.of(model).schema

    class Statistics(nn.Module):
        def __init__(self, mean: float, dtype: torch.dtype = torch.float32) -> None:
            super().__init__()
            self.register_buffer("mean", torch.full((2,), mean, dtype=dtype))

    torch.manual_seed(1)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    same = nn.Linear(3, 2)
    same.load_state_dict(first.state_dict())
    half = Statistics(1.0, torch.bfloat16)
    found = [schema_with(part) for part in (None, first, second, Statistics(1.0), Statistics(2.0), half)]
    assert len(set(found)) == len(found)
    assert schema_with(same) == schema_with(first)


def test_the_schema_of_a_model_without_frozen_parts_is_that_of_names_and_shapes() -> None:
    partition = Partition.of(small_model())
    described = json.dumps([[t.name, list(t.shape)] for t in partition.shared])
    assert partition.schema == hashlib.sha256(described.encode()).hexdigest()[:16]


@settings(max_examples=50)
@given(trees(st.sampled_from([Owner.SHARED, Owner.PERSONAL, None])), st.integers(0, 2**31))
def test_vector_and_personal_state_round_trip(tree: Declared, seed: int) -> None:
    if not legal(tree, None):
        return
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tree.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
    model = PartitionedModel(tree)
    before = {n: t.clone() for n, t in tree.state_dict().items()}
    shared, personal = model.shared_vector(), model.personal_state()
    with torch.no_grad():
        for parameter in tree.parameters():
            parameter.zero_()
    model.load_shared_vector(shared)
    model.load_personal_state(personal)
    assert all(torch.equal(t, before[n]) for n, t in tree.state_dict().items())


@pytest.mark.parametrize("size", ["tiny", "base", "large"])
@pytest.mark.parametrize("personal", ["vectors", "maps"])
@pytest.mark.parametrize("sources", [("table",), ("mel_style",), ("table", "mel_style")])
@pytest.mark.parametrize("learn", ["auto", "never"])
def test_every_voice_model_is_partitioned_whole(
    size: str, personal: str, sources: tuple[str, ...], learn: str
) -> None:
    model = small_model(
        size,
        speaker=SpeakerConfig.model_validate({"personal": personal, "sources": sources}),
        aligner=AlignerConfig.model_validate({"learn": learn}),
    )
    partition = Partition.of(model)
    names = {n for n, _ in model.named_parameters()} | {n for n, _ in model.named_buffers()}
    assert set(partition.owners) == names
    expected = {"voices"} | ({"own_maps"} if personal == "maps" else set())
    assert {n.split(".")[0] for n in partition.names(Owner.PERSONAL)} == expected
    assert set(partition.names(Owner.CONSTANT)) == {n for n, _ in model.named_buffers()}
    shared = sum(math.prod(t.shape) for t in partition.shared)
    own = sum(p.numel() for p in PartitionedModel(model).personal_parameters())
    assert shared + own == sum(p.numel() for p in model.parameters())
    assert Partition.of(model, share_everything=True).size == shared + own


def test_an_undeclared_tensor_stops_the_partition() -> None:
    model = small_model()
    model.extra = nn.Linear(2, 2)
    with pytest.raises(PartitionError, match=r"extra\.weight.*belongs to nobody"):
        PartitionedModel(model)


def test_a_shared_module_inside_a_personal_one_is_refused() -> None:
    model = small_model()
    model.voices.stowaway = Declared(Owner.SHARED, [])
    with pytest.raises(PartitionError, match="shared inside a personal module"):
        Partition.of(model)


def test_a_tensor_under_two_owners_is_refused_and_one_under_one_owner_counts_once() -> None:
    model = small_model()
    model.voices.tied = nn.Linear(16, 80)
    model.voices.tied.weight = model.acoustic.mel.weight
    with pytest.raises(PartitionError, match="one tensor must have one owner"):
        Partition.of(model)
    tied = small_model()
    before = Partition.of(tied).size
    tied.acoustic.again = tied.acoustic.mel
    assert Partition.of(tied).size == before


def test_running_statistics_and_whole_numbers_cannot_travel() -> None:
    model = small_model()
    model.acoustic.batch_norm = nn.BatchNorm1d(4)
    with pytest.raises(PartitionError, match="running statistics"):
        Partition.of(model)
    whole = Declared(Owner.SHARED, [])
    whole.count = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    with pytest.raises(PartitionError, match="only floating-point"):
        Partition.of(whole)


def test_another_recipe_s_vector_and_personal_set_are_refused() -> None:
    small, large = PartitionedModel(small_model()), PartitionedModel(small_model(hidden=32))
    assert small.partition.schema != large.partition.schema
    with pytest.raises(PartitionError, match="does not fit"):
        small.load_shared_vector(large.shared_vector())
    with pytest.raises(PartitionError, match="another recipe"):
        small.load_personal_state(large.personal_state())
    with pytest.raises(PartitionError, match="another recipe"):
        small.load_personal_state({})


def test_the_vector_s_order_does_not_depend_on_the_number_of_voices() -> None:
    one, many = PartitionedModel(small_model()), PartitionedModel(small_model(voices=6))
    assert one.partition.schema == many.partition.schema
    assert torch.equal(one.shared_vector(), many.shared_vector())
