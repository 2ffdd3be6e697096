"""The four rooms keep to themselves, and the repository names no machine.

- ``server`` never imports ``client`` or ``simulations``.
- ``client`` never imports ``server`` or ``simulations``.
- ``shared_models`` imports none of the three, nor Flower.
- ``simulations`` may import everything.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "server": {"client", "simulations"},
    "client": {"server", "simulations"},
    "shared_models": {"server", "client", "simulations", "flwr"},
}
# Within shared_models: what several models are built of knows none of them, and what hears a speaker does not know
# the model that speaks.
LOWER_SHELVES = {
    "layers": {"acoustic", "speakers", "vocoders", "export"},
    "speakers": {"acoustic", "vocoders", "export"},
    "acoustic": {"vocoders", "export"},
    "vocoders": {"acoustic", "speakers", "export"},
}
# A path that starts at the root of somebody's machine: a home, a build tree, a Windows drive. System
# places that every machine has (/usr, /etc, /dev, /proc, /tmp) are fine.
MACHINE_PATH = re.compile(
    r"(?<![\w./:~$}>*-])/(?:home|root|Users|work|workspace|mnt|opt)/[\w.-]+|\b[A-Z]:\\\\?Users"
)
TEXT = {".py", ".toml", ".md", ".txt", ".html", ".cfg", ".yml", ".yaml", ".json", ".csv", ".sh", ".ini", ""}


def imported_packages(source: str) -> set[str]:
    """Top-level packages that the source imports, lazily or not, ``importlib`` with a literal included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {name.name.split(".")[0] for name in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.split(".")[0])
            case ast.ImportFrom(level=level) if level > 1:
                found.add("..")  # climbs out of its own package: nobody can tell where to
            case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]):
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                if name in {"import_module", "__import__"}:
                    found.add(module.split(".")[0])
    return found


def violations(room: str, source: str) -> set[str]:
    """What the source imports although its room must not."""
    return imported_packages(source) & (FORBIDDEN.get(room, set()) | {".."})


def imported_shelves(source: str) -> set[str]:
    """Packages within ``shared_models`` that the source imports, lazily or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "shared_models":
            found |= {name.name for name in node.names}
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name and name.startswith("shared_models.")}
    return found


def machine_paths(text: str) -> list[str]:
    """Absolute paths of one machine in a text."""
    return MACHINE_PATH.findall(text)


def tracked_files() -> list[Path]:
    """Files that git tracks or would add; all files where this is no git checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip(
            "SKIPPED FOR LACK OF GIT: this is no git checkout, so nobody knows which files are the project's"
        )
    paths = [REPOSITORY / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_rooms_import_only_what_they_may(room: str) -> None:
    files = sorted((REPOSITORY / room).rglob("*.py"))
    assert files, f"there is no {room}/ to examine"
    guilty = {
        str(path.relative_to(REPOSITORY)): found
        for path in files
        if (found := violations(room, path.read_text(encoding="utf-8")))
    }
    assert guilty == {}


@pytest.mark.parametrize(
    ("room", "source", "found"),
    [
        ("server", "from client.learning.local_round import train", {"client"}),
        ("server", "import simulations.cli as cli", {"simulations"}),
        ("server", "from shared_models.errors import FedVoiceError\nimport flwr", set()),
        ("client", "def later():\n    import server", {"server"}),
        ("client", "if True:\n    from simulations import run_folder", {"simulations"}),
        ("client", "import importlib\nimportlib.import_module('server.app')", {"server"}),
        ("client", "from ..server import app", {".."}),
        ("client", "from .training import train\nimport serverless", set()),
        ("shared_models", "from flwr.common import Message", {"flwr"}),
        ("shared_models", "__import__('client')", {"client"}),
        ("shared_models", "text = 'import client'  # import server", set()),
        ("simulations", "import server, client, flwr", set()),
    ],
)
def test_the_rules_catch_what_breaks_them(room: str, source: str, found: set[str]) -> None:
    assert violations(room, source) == found


@pytest.mark.parametrize("shelf", sorted(LOWER_SHELVES))
def test_models_and_their_layers_do_not_import_one_another_in_circles(shelf: str) -> None:
    files = sorted((REPOSITORY / "shared_models" / shelf).rglob("*.py"))
    assert len(files) > 1, f"there is no shared_models/{shelf}/ to examine"
    guilty = {
        path.name: found
        for path in files
        if (found := imported_shelves(path.read_text(encoding="utf-8")) & LOWER_SHELVES[shelf])
    }
    assert guilty == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from shared_models.acoustic.dimensions import Dimensions", {"acoustic"}),
        ("def later():\n    import shared_models.speakers.voices as v", {"speakers"}),
        ("from shared_models import acoustic, text", {"acoustic", "text"}),
        ("from client.learning.local_round import train\nimport shared_modelsx.acoustic", set()),
    ],
)
def test_an_import_within_shared_models_is_found(source: str, found: set[str]) -> None:
    assert imported_shelves(source) == found


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    guilty = {}
    for path in tracked_files():
        if path.suffix not in TEXT or path == Path(__file__).resolve():
            continue
        try:
            found = machine_paths(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue
        if found:
            guilty[str(path.relative_to(REPOSITORY))] = found
    assert guilty == {}


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("open('/home/ada/speech')", True),
        ("cd /root/venvs/x", True),
        ("see /Users/ada/Desktop", True),
        (r"C:\Users\ada", True),
        ("path = /work/thing", True),
        ("../shared/speech and runs/home/x", False),
        ("https://example.org/home/page", False),
        ("/tmp/x and /usr/bin/env and /dev/null", False),
        ("$ROOT/data/speech", False),
    ],
)
def test_machine_paths_are_told_from_others(text: str, caught: bool) -> None:
    assert bool(machine_paths(text)) == caught


# Three seconds of processor time, for whoever trains privately or accounts for something.
LATER = {"opacus", "scipy.optimize", "scipy.stats", "sympy", "dp_accounting"}


def test_processes_load_what_they_need_and_no_more() -> None:
    # What only waits and passes on does without torch: it would take a second longer to start again, and 200 MB.
    client = "client.live.supervisor, client.live.supernode"
    server = "server.live.supervisor, server.live.superlink, server.live.gate"
    code = (
        f"import sys, {client}, {server}\nprint('torch' in sys.modules)\n"
        f"import client.app, client.live.worker, server.live.federation, server.rounds\n"
        f"print('torch' in sys.modules, sorted({LATER!r} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert told.stdout.splitlines() == ["False", "True []"]
