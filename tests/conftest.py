"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before torch is loaded. Threads that spin while they wait take the cores from other tests: some took ten times as
# long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import pytest
import torch
from tiny_federation import FEATURES_VARIABLE

from client.home import owner_ledger
from shared_models.audio import cache

# A busy or slow machine may take its time: speed is what benchmarks measure.
hypothesis.settings.register_profile("fedvoice", deadline=None)
hypothesis.settings.load_profile("fedvoice")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=0, help="so many damaged files of each kind in test_fuzz.py")


def pytest_configure(config: pytest.Config) -> None:
    """Before any process is started: one folder of features for all of them."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="fedvoice-test-features-")
        os.environ[FEATURES_VARIABLE] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end, no process waits for another that has just begun a long one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


REPOSITORY = Path(__file__).resolve().parent.parent


def _corpus(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / folder))
    if not (path / "metadata.csv").is_file():
        pytest.skip(f"SKIPPED FOR LACK OF DATA: no corpus at {path}; set {variable} to run this test")
    return path


@pytest.fixture(scope="session")
def speech_path() -> Path:
    """Real human speech (tests that use it carry the marker ``realspeech``)."""
    return _corpus("FEDVOICE_SPEECH", "speech")


@pytest.fixture(scope="session")
def kokoro_path() -> Path:
    """Clean synthetic speech in many voices (marker ``realspeech`` as well)."""
    return _corpus("FEDVOICE_KOKORO", "kokoro")


@pytest.fixture(autouse=True)
def _a_ledger_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the ledger, or the memory of it, of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("owner")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setattr(owner_ledger, "HOMES", folder / "homes")


@pytest.fixture(autouse=True, scope="session")
def _few_recordings_are_heard_here() -> Iterator[None]:
    """To start a process takes more of a processor than the features of a test's recordings do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_FEWEST_FOR_WORKERS", 100)
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def gpu() -> torch.device:
    """A CUDA GPU (tests that use it carry the marker ``gpu``)."""
    if not torch.cuda.is_available():
        pytest.skip("SKIPPED FOR LACK OF A GPU: run these tests on a machine that has one")
    return torch.device("cuda", 0)
