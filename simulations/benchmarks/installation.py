"""``python -m simulations.benchmarks.installation``: what a device or a server installs, beside everything.

The wheel of this checkout is built and installed in fresh environments, without extras and with all of them, by pip
with the versions of ``constraints.txt``. In each, a voice speaks and another is cloned.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from shared_models.errors import ServiceError
from simulations.corpora.embedded import ROOT as EMBEDDED

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = ("simulations", "evaluation", "espeak", "export")
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "server", "client", "shared_models", "simulations")
_VOICE, _UTTERANCES = "k_af_alloy", 5
"""The packaged voice that is cloned, and from how many of its utterances."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One environment."""

    extras: tuple[str, ...]
    seconds: float
    """That pip took, packages that it had fetched before included."""
    megabytes: float
    """Of all files that it installed."""
    packages: int
    works: tuple[str, ...]
    """Commands that were run in it and did what they should."""


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, in ``folder``. Raises :class:`ServiceError`."""
    # Of a copy: what an earlier build left in the checkout would be packed too.
    with TemporaryDirectory() as copy:
        for name in _SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(copy) / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
        _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), copy])
    (wheel,) = folder.glob("fedvoice-*.whl")
    return wheel


def install(wheel: Path, folder: Path, extras: Sequence[str] = ()) -> Installation:
    """Install ``wheel`` in a fresh environment at ``folder``, and try it. Raises :class:`ServiceError`."""
    _run([sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    before, started = _bytes_of(folder), time.monotonic()
    wanted = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    # Isolated: what PYTHONPATH names would pass for installed.
    pip = [str(python), "-I", "-m", "pip"]
    _run([*pip, "install", "--quiet", "-c", str(ROOT / "constraints.txt"), wanted])
    taken = time.monotonic() - started
    size = (_bytes_of(folder) - before) / 1e6
    listed = json.loads(_run([*pip, "list", "--format", "json"]))
    return Installation(tuple(extras), taken, size, len(listed), _try(folder))


def _try(folder: Path) -> tuple[str, ...]:
    """Speak and clone with what is installed at ``folder`` alone."""
    fedvoice = str(folder / "bin" / "fedvoice")
    with TemporaryDirectory() as home:
        own = {"HOME": home, "XDG_DATA_HOME": home, "XDG_STATE_HOME": home}
        surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | own
        commands = {
            "speak": ["speak", "Good morning.", "--output", "said.wav"],
            "detect": ["detect", "said.wav"],
            "clone": [
                "clone",
                str(_recordings(Path(home))),
                "--steps",
                "2",
                "--output",
                "me.voice.safetensors",
            ],
            "join": ["join", "--help"],
            "serve": ["serve", "--help"],
        }
        for arguments in commands.values():
            _run([fedvoice, *arguments], cwd=home, env=surroundings)
    return tuple(commands)


def _recordings(folder: Path) -> Path:
    """A table of a few utterances of one voice."""
    with (EMBEDDED / "metadata.csv").open(encoding="utf-8", newline="") as file:
        own = [row for row in csv.DictReader(file) if row["speaker_id"] == _VOICE][:_UTTERANCES]
    table = folder / "me.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("path", "text"))
        lines.writerows((EMBEDDED / row["path"], row["text"]) for row in own)
    return table


def _bytes_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _run(command: Sequence[str], cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ServiceError(
            f"'{' '.join(command)}' ended with {done.returncode}: {said[-1] if said else 'no word'}"
        )
    return done.stdout


def main() -> None:
    """Install both ways and print the figures."""
    with TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        found = {"wheel_megabytes": wheel.stat().st_size / 1e6, "installations": []}
        for number, extras in enumerate(((), EVERYTHING)):
            made = install(wheel, Path(folder) / f"environment-{number}", extras)
            found["installations"].append(asdict(made))  # type: ignore[attr-defined]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
