"""The wheel without extras, in an environment that holds what it requires and nothing else: it speaks and clones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tiny_federation import small_corpus

from simulations.benchmarks.installation import build_wheel

ABSENT = ("ray", "tensorboard", "matplotlib", "PIL", "onnx", "moonshine_voice", "pytest", "resemblyzer")


def required(name: str, extras: frozenset[str] = frozenset()) -> dict[str, Distribution]:
    """All that a package requires here, directly or not, by canonical name; without itself."""
    found: dict[str, Distribution] = {}
    pending = [(name, extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        asked = pending.pop()
        if asked in seen:
            continue
        seen.add(asked)
        own = distribution(asked[0])
        found[canonicalize_name(asked[0])] = own
        for text in own.requires or []:
            wanted = Requirement(text)
            if wanted.marker is None or any(
                wanted.marker.evaluate({"extra": extra}) for extra in ("", *asked[1])
            ):
                pending.append((wanted.name, frozenset(wanted.extras)))
    del found[canonicalize_name(name)]
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, whose requirements are links to the packages of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    wheel = build_wheel(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    # By pip of this environment: the fresh one has none, so that it holds nothing that the wheel does not ask for.
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "env"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], env=_surroundings(folder), check=True)
    # What the wheel itself asks for, and not what this checkout's installation once asked for.
    (made,) = Distribution.discover(name="fedvoice", path=[str(site)])
    for text in made.requires or []:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            whole = {wanted.name: distribution(wanted.name)}
            for package in (whole | required(wanted.name, frozenset(wanted.extras))).values():
                _link(package, site)
    return folder / "env"


def _link(package: Distribution, site: Path) -> None:
    tops = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        target = Path(str(package.locate_file(top)))
        if not (site / top).exists():
            (site / top).symlink_to(target)


def _surroundings(home: Path) -> dict[str, str]:
    """Without a way to this checkout, and with another home."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {
        "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_STATE_HOME": str(home / "state")
    }  # fmt: skip


def run(environment: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [str(environment / "bin" / program), *arguments],
        cwd=cwd, env=_surroundings(cwd), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_nothing_else_is_there(environment: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, json, shared_models; "
        f"print(json.dumps([[n for n in {ABSENT!r} if u.find_spec(n)], shared_models.__file__]))"
    )
    found, where = json.loads(run(environment, tmp_path, "python", "-c", code).stdout)
    assert found == []
    assert Path(where).is_relative_to(environment)


@pytest.mark.slow
def test_it_speaks_clones_and_finds_the_mark(environment: Path, tmp_path: Path) -> None:
    recordings = small_corpus(tmp_path / "me", train=1, utterances=2)
    for command in (
        ("speak", "Good morning.", "--output", "morning.wav"),
        ("detect", "morning.wav"),
        ("clone", str(recordings), "--steps", "2", "--output", "me.voice.safetensors"),
        ("speak", "Yes.", "--voice", "me.voice.safetensors", "--output", "yes.flac"),
        ("join", "--help"),
        ("serve", "--help"),
    ):
        done = run(environment, tmp_path, "fedvoice", *command)
        assert done.returncode == 0, (command, done.stderr)
    done = run(environment, tmp_path, "fedvoice", "simulate")
    assert done.returncode == 2
    assert "needs the 'simulations' extra" in done.stderr
