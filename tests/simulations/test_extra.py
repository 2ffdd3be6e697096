"""A device and a server do without the extra ``simulations``; what needs it says so in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_federation import small_corpus

REPOSITORY = Path(__file__).parents[2]
ABSENT = ("ray", "tensorboard", "matplotlib", "PIL")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the Python path that makes every interpreter behave as if the extra were not installed."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({ABSENT!r}))\n", encoding="utf-8"
    )
    return folder


def surroundings_of(bare: Path, cwd: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(bare), str(REPOSITORY))),
        "XDG_DATA_HOME": str(cwd / "data"),
        "XDG_STATE_HOME": str(cwd / "state"),
        "HOME": str(cwd),
    }


def fedvoice(bare: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulations.cli", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=surroundings_of(bare, cwd), capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip


def test_the_interpreter_of_these_tests_is_without_it(bare: Path, tmp_path: Path) -> None:
    for name in ABSENT:
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(bare)},
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 1


def test_a_voice_is_cloned_and_speaks(bare: Path, tmp_path: Path) -> None:
    recordings = small_corpus(tmp_path / "me", train=1, utterances=2)
    done = fedvoice(
        bare,
        "clone",
        str(recordings),
        "--zero-shot",
        "--output",
        "me.voice.safetensors",
        "--json",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["utterances"] == 2
    done = fedvoice(
        bare, "speak", "Yes.", "--voice", "me.voice.safetensors", "--output", "yes.wav", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "yes.wav").stat().st_size > 10_000


def answers(bare: Path, lines: list[tuple[str, ...]], cwd: Path) -> tuple[list[int], str]:
    """What one process that runs these command lines after one another returns, and what it says of errors."""
    code = (
        "import json, sys; from simulations.cli import run; "
        f"codes = [run(list(line)) for line in {lines!r}]; print(); print(json.dumps(codes))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=surroundings_of(bare, cwd), capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_what_a_device_and_a_server_run_answers(bare: Path, tmp_path: Path) -> None:
    lines = [
        ("--help",), ("join", "--help"), ("leave", "--help"), ("serve", "--help"), ("invite", "--help"),
        ("join", "--print-systemd"), ("serve", "--print-containerfile"), ("speak", "--voices"),
    ]  # fmt: skip
    assert answers(bare, lines, tmp_path) == ([0] * len(lines), "")


def test_what_needs_it_names_it_and_leaves_nothing(bare: Path, tmp_path: Path) -> None:
    missing = {
        ("simulate",): "tensorboard, matplotlib, PIL",
        ("privacy", "plan", "--population", "1000", "--cohort", "100", "--rounds", "2", "--epsilon", "4",
          "--plot", "plan.png"): "matplotlib",
        ("bench", "engine", "--engine", "ray", "--clients", "2", "--parameters", "10", "--rounds", "1"): "ray",
    }  # fmt: skip
    codes, said = answers(bare, list(missing), tmp_path)
    assert codes == [2] * len(missing)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    for error, packages in zip(errors, missing.values(), strict=True):
        assert f"needs the 'simulations' extra (without {packages} here): pip install" in error
    assert said.splitlines()[-1] == errors[-1]
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "plan.png").exists()
