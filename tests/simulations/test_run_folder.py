"""Run folders and the files under them: nothing half-written, nothing twice, whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_run import fake_recipe
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.errors import CheckpointError, StorageError
from shared_models.files import append_line, write_atomically
from shared_models.plain_json import finite
from simulations.run_folder import RunFolder, ScalarLog, default_run_path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte, which fills up for real."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(
            f"SKIPPED FOR LACK OF RIGHTS: a small tmpfs cannot be mounted here ({done.stderr.strip()})"
        )
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", fake_recipe())


def test_a_run_can_be_opened_again_with_the_recipe_it_was_started_with(run: RunFolder) -> None:
    assert RunFolder.open(run.path).recipe() == fake_recipe()


def test_a_run_is_never_started_over_another(run: RunFolder) -> None:
    with pytest.raises(StorageError, match="--resume"):
        RunFolder.create(run.path, fake_recipe())


def test_a_folder_without_recipe_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no recipe\.json"):
        RunFolder.open(tmp_path)


def test_default_paths_name_the_recipe_and_never_collide(tmp_path: Path) -> None:
    paths = []
    for _ in range(3):
        paths.append(default_run_path("real", tmp_path))
        paths[-1].mkdir()
    assert len(set(paths)) == 3
    assert all(path.name.startswith("real-") for path in paths)


def test_the_environment_tells_versions_but_not_whose_machine_it_is(run: RunFolder) -> None:
    environment = run.environment()
    assert environment["packages"]["torch"] == metadata.version("torch")
    assert environment["seed"] == fake_recipe().seed
    assert environment["machine"]["cores"] >= 1
    text = json.dumps(environment)
    assert os.uname().nodename not in text
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_results_survive_a_round_trip_without_nan(run: RunFolder) -> None:
    run.write_results(
        {
            "recipe": "r",
            "arms": {},
            "value": float("nan"),
            "numpy": np.float32(0.5),
            "deep": [torch.tensor(2)],
        }
    )
    assert run.results() == {"recipe": "r", "arms": {}, "value": None, "numpy": 0.5, "deep": [2]}


def test_results_that_are_not_there_yet_or_damaged_say_so(run: RunFolder) -> None:
    with pytest.raises(CheckpointError, match="resume"):
        run.results()
    (run.path / "results.json").write_text('{"recipe": "re')
    with pytest.raises(CheckpointError, match="damaged"):
        run.results()


@pytest.mark.parametrize("name", ["", "../other", "a/b", ".hidden", "c:d"])
def test_arms_cannot_leave_the_run(run: RunFolder, name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot name an arm"):
        run.arm(name)


def test_metrics_come_back_as_they_were_appended(run: RunFolder) -> None:
    arm = run.arm("federated")
    arm.append({"round": 1, "train_loss": 0.5, "epsilon": None})
    arm.append({"round": 2, "train_loss": float("inf"), "epsilon": 1.5})
    assert arm.metrics() == [
        {"arm": "federated", "round": 1, "train_loss": 0.5, "epsilon": None},
        {"arm": "federated", "round": 2, "train_loss": None, "epsilon": 1.5},
    ]


@settings(max_examples=60)
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_kill_at_any_byte_loses_at_most_the_torn_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    arm = RunFolder.create(tmp_path_factory.mktemp("torn") / "run", fake_recipe()).arm("federated")
    for number in range(1, 6):
        arm.append({"round": number, "train_loss": 1 / number})
    whole = arm.metrics_path.read_bytes()
    kept = whole[: min(cut, len(whole))]
    arm.metrics_path.write_bytes(kept)

    survivors = kept.count(b"\n")
    assert [entry["round"] for entry in arm.metrics()] == list(range(1, survivors + 1))

    arm.append({"round": survivors + 1, "train_loss": 0.1})
    assert [entry["round"] for entry in arm.metrics()] == list(range(1, survivors + 2))
    assert arm.metrics()[-1]["train_loss"] == 0.1


def test_damage_in_the_middle_is_reported_with_its_line(run: RunFolder) -> None:
    arm = run.arm("federated")
    for number in (1, 2, 3):
        arm.append({"round": number})
    lines = arm.metrics_path.read_text().splitlines()
    arm.metrics_path.write_text("\n".join([lines[0], lines[1][:5], lines[2]]) + "\n")
    with pytest.raises(CheckpointError, match="line 2"):
        arm.metrics()


def test_rounds_that_are_run_again_count_once(run: RunFolder) -> None:
    arm = run.arm("federated")
    for number in (1, 2, 3, 4):
        arm.append({"round": number, "train_loss": 1.0})
    arm.forget_after(2)
    assert [entry["round"] for entry in arm.metrics()] == [1, 2]
    for number in (2, 3):  # without forgetting, the later line of a round counts
        arm.append({"round": number, "train_loss": 2.0})
    assert [(entry["round"], entry["train_loss"]) for entry in arm.metrics()] == [
        (1, 1.0),
        (2, 2.0),
        (3, 2.0),
    ]


def test_tensorboard_shows_each_round_once_after_a_resume(run: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arm = run.arm("federated")
    folder = run.tensorboard_path / arm.name
    for lines in ((1, 2, 3), (3, 4)):  # killed after round 3 was logged, resumed from round 2
        arm.forget_after(2)
        with ScalarLog(folder, arm.metrics()) as log:
            for number in lines:
                arm.append({"round": number, "train_loss": 0.5 * number, "note": "text", "flag": True})
                log.add(arm.metrics()[-1])
    for _ in range(2):
        events = EventAccumulator(str(folder)).Reload()
        assert events.Tags()["scalars"] == ["train_loss"]
        assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [
            (number, 0.5 * number) for number in (1, 2, 3, 4)
        ]
        run.rebuild_tensorboard()


def test_arms_are_listed_in_the_recipes_order(run: RunFolder) -> None:
    for name in ("zebra", "local", "centralised"):
        run.arm(name).append({"round": 1})
    assert [arm.name for arm in run.arms()] == ["centralised", "local", "zebra"]


def test_finite_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(TypeError, match="object"):
        finite({"a": object()})


def test_atomic_writing_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.bin"
    write_atomically(path, b"one")
    write_atomically(path, "zwei")
    assert path.read_text() == "zwei"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_a_full_disk_is_one_sentence_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "checkpoint.bin"
    old = bytes(600_000)
    write_atomically(path, old)
    with pytest.raises(StorageError, match="full: free some space and resume") as caught:
        write_atomically(path, b"x" * 600_000)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == old
    assert [entry.name for entry in small_disk.iterdir()] == ["checkpoint.bin"]


def test_a_log_on_a_full_disk_keeps_its_whole_lines(small_disk: Path) -> None:
    path = small_disk / "metrics.jsonl"
    line = "x" * 50_000
    written = 0

    def fill() -> None:
        nonlocal written
        for _ in range(100):
            append_line(path, line)
            written += 1

    with pytest.raises(StorageError, match="full"):
        fill()
    assert written > 10
    assert path.read_text() == (line + "\n") * written


def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        RunFolder.create(tmp_path / "runs" / "new", fake_recipe())
