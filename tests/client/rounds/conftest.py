"""A device that is asked rounds in the tests' own process; a file that has one defines ``made``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from flwr.supercore.task_identity import TaskIdentity
from live_device import Made


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Messages have a sender, and what a device remembers outside of its home is this test's own."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def device(made: Made, tmp_path: Path) -> Made:
    """A copy of the file's device, and the recipe of its federation."""
    shutil.copytree(made[0], tmp_path / "home")
    return tmp_path / "home", made[1]
