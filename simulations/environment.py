"""What a run ran on: versions, source revision, and the machine's class.

This goes into every run folder and report, which people pass on: it holds no host name, no user name
and no path.
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_NAMED_PACKAGES = (
    "torch",
    "torchaudio",
    "flwr",
    "opacus",
    "dp-accounting",
    "numpy",
    "scipy",
    "soundfile",
    "safetensors",
    "pydantic",
    "ray",
    "gruut",
    "pypinyin",
    "espeakng-loader",
    "moonshine-voice",
    "resemblyzer",
)
GIBIBYTE = 1 << 30


def describe_environment(seed: int | None = None) -> dict[str, Any]:
    """Version, revision, seed, package versions and machine class, as plain JSON data."""
    return {
        "fedvoice": package_version("fedvoice"),
        "revision": source_revision(),
        "seed": seed,
        "python": platform.python_version(),
        "packages": {name: found for name in _NAMED_PACKAGES if (found := package_version(name)) is not None},
        "machine": machine_class(),
    }


def package_version(name: str) -> str | None:
    """The installed version, or None where the package is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def source_revision() -> str | None:
    """The git commit that the code comes from, with '+changes' where it is edited; None outside of git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def machine_class() -> dict[str, Any]:
    """Cores this process may use, memory (GiB), operating system and processor family."""
    return {
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / GIBIBYTE, 1),
        "system": platform.system(),
        "processor": platform.machine(),
    }


def machine_in_words() -> str:
    """What figures of time are stated with, as ``2 cores, 24.0 GiB, x86_64``."""
    machine = machine_class()
    return f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['processor']}"


def usable_cores() -> int:
    """Cores that the scheduler lets this process use, which in a container may be fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
