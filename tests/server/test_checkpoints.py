"""Checkpoints: whole or refused, the newest two kept, bound to their model."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from server.checkpoints import (
    FORMAT,
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    weights_hash,
)
from shared_models.errors import CheckpointError, StorageError


def checkpoint(number: int, size: int = 50, schema: str = "abc") -> Checkpoint:
    weights = torch.randn(size, generator=torch.Generator().manual_seed(number))
    moments = {"m": weights * 2, "v": weights.square()}
    return Checkpoint(number, weights, schema, '{"name": "ü"}', moments, {"releases": [[1.5, 0.25, number]]})


def equal(one: Checkpoint, other: Checkpoint) -> bool:
    plain = (one.round, one.schema, one.recipe, one.accountant)
    return (
        plain == (other.round, other.schema, other.recipe, other.accountant)
        and torch.equal(one.weights, other.weights)
        and set(one.optimizer) == set(other.optimizer)
        and all(torch.equal(one.optimizer[name], other.optimizer[name]) for name in one.optimizer)
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = checkpoint(3)
    path = save_checkpoint(tmp_path / "deep" / "er", saved)
    assert equal(load_checkpoint(path, schema="abc"), saved)
    bare = Checkpoint(4, torch.zeros(2), "abc", "{}")
    assert equal(load_checkpoint(save_checkpoint(tmp_path, bare)), bare)


@pytest.mark.parametrize(
    ("header", "tensors"),
    [
        ({"round": "three"}, {}),
        ({"round": None}, {}),
        ({"accountant": "{"}, {}),
        ({"accountant": "[" * 99_999}, {}),
        ({"recipe": None}, {}),
        ({"schema": None}, {}),
        ({"counted": "[]"}, {}),
        ({}, {"weights": torch.tensor([1.0, torch.nan])}),
        ({}, {"weights": torch.zeros(2, 2)}),
        ({}, {"weights": torch.zeros(3, dtype=torch.int64)}),
        ({}, {"others": torch.zeros(3)}),
    ],
)
def test_a_header_or_weights_that_do_not_hold_are_refused(
    tmp_path: Path, header: dict[str, str | None], tensors: dict[str, torch.Tensor]
) -> None:
    whole = {"format": FORMAT, "round": "3", "schema": "abc", "recipe": "{}", "accountant": "null"}
    kept = {key: value for key, value in (whole | header).items() if value is not None}
    path = tmp_path / "round-00003.safetensors"
    path.write_bytes(save(tensors or {"weights": torch.zeros(3)}, kept))
    with pytest.raises(CheckpointError, match=r"round-00003.*use the one before it") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_there_is_none_in_an_empty_or_missing_folder(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_the_newest_two_are_kept_also_past_the_digits_of_the_name(tmp_path: Path) -> None:
    for number in (1, 2, 9, 10, 99_998, 99_999):
        save_checkpoint(tmp_path, checkpoint(number))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "round-99998.safetensors",
        "round-99999.safetensors",
    ]
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert equal(found, checkpoint(99_999))


def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    newest = save_checkpoint(tmp_path, checkpoint(2))
    newest.write_bytes(newest.read_bytes()[:-1])
    found = latest_checkpoint(tmp_path, schema="abc")
    assert found is not None
    assert equal(found, checkpoint(1))


def test_where_all_are_damaged_none_is_made_up(tmp_path: Path) -> None:
    for number in (1, 2):
        path = save_checkpoint(tmp_path, checkpoint(number))
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        latest_checkpoint(tmp_path)


@settings(max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_no_part_of_a_checkpoint_passes_for_a_whole_one(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = save_checkpoint(folder, checkpoint(1))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="round-00001"):
        load_checkpoint(path)


def test_another_models_checkpoint_is_refused_with_both_schemas(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(1, schema="theirs"))
    with pytest.raises(CheckpointError, match=r"another model \(schema theirs, this recipe makes ours\)"):
        load_checkpoint(path, schema="ours")
    with pytest.raises(CheckpointError, match="another model"):
        latest_checkpoint(tmp_path, schema="ours")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('the pickle ran')",))

    path = tmp_path / "round-00001.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_safetensors_of_something_else_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "round-00001.safetensors"
    save_file({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not a FedVoice checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fills_up_leaves_the_old_ones_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    for number in (1, 2):
        save_checkpoint(tmp_path, checkpoint(number))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full) if failing == "fsync" else patch.setattr(Path, "replace", full)
        with pytest.raises(StorageError, match=r"round-00003.*full"):
            save_checkpoint(tmp_path, checkpoint(3))
    assert len(list(tmp_path.iterdir())) == 2
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert equal(found, checkpoint(2))


def test_equal_weights_have_equal_hashes_and_others_others() -> None:
    weights = torch.randn(100)
    assert weights_hash(weights) == weights_hash(weights.clone()) == checkpoint_hash(weights)
    moved = weights.clone()
    moved[7] = torch.nextafter(moved[7], torch.tensor(10.0))
    assert weights_hash(moved) != weights_hash(weights)


def checkpoint_hash(weights: torch.Tensor) -> str:
    return Checkpoint(1, weights, "abc", "{}").base_hash
