"""What Flower ships to other machines is an allow-list of code."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

REPOSITORY = Path(__file__).resolve().parent.parent.parent
ROOMS = ("server", "client", "shared_models")
FLOWERS_OWN = {".info/CONTENT"}


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The bundle of a copy of this repository into which what must not be shipped was strewn."""
    copy = tmp_path_factory.mktemp("build") / "fedvoice"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "runs", "*.egg-info", "*.opus", "*.ogg")
    shutil.copytree(REPOSITORY, copy, ignore=ignored)
    for stray in (
        "speakers.json",
        "server/devices.json",
        "client/voice.safetensors",
        "client/recordings/metadata.csv",
        "client/recordings/one.wav",
        "shared_models/notes.md",
        "runs/one/checkpoints/weights.toml",
        "data/manifest.json",
        "attack.py",
    ):
        (copy / stray).parent.mkdir(parents=True, exist_ok=True)
        (copy / stray).write_text("private")
    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(copy))) as bundle:
        return set(bundle.namelist())


def test_the_bundle_is_the_code_of_three_rooms_and_nothing_else(bundled: set[str]) -> None:
    code = {str(path.relative_to(REPOSITORY)) for room in ROOMS for path in (REPOSITORY / room).rglob("*.py")}
    code = {path for path in code if not Path(path).name.startswith("test_")}
    assert bundled == code | {"pyproject.toml"} | FLOWERS_OWN


def test_the_bundle_holds_both_apps(bundled: set[str]) -> None:
    assert {"server/app.py", "client/app.py", "shared_models/wire.py"} <= bundled
