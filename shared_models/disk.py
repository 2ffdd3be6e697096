"""How much room a disk has, in words that name the folder: what is said wherever a disk is full."""

from __future__ import annotations

import shutil
from pathlib import Path

_NOTHING = 1_000_000


def free_bytes(path: Path | str) -> int | None:
    """Free bytes for this user on the disk that holds ``path``, which need not exist; None if nobody can tell."""
    place = Path(path).absolute()
    for folder in (place, *place.parents):
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def room(path: Path | str) -> str:
    """How much is free where ``path`` lies, as ``3.1 MB free``; empty if nobody can tell."""
    free = free_bytes(path)
    return "" if free is None else f"{free / 1e6:.1f} MB free"


def shortage(folder: Path, least_bytes: int) -> str | None:
    """What is to be done where the disk of ``folder`` has less room than that; None if it has enough."""
    free = free_bytes(folder)
    if free is None or free >= least_bytes:
        return None
    how = "full" if free < _NOTHING else "nearly full"
    return (
        f"the disk that holds {folder} is {how} ({free / 1e6:.1f} MB free, {least_bytes / 1e6:.0f} MB are needed): "
        "free some space there, and it goes on by itself; nothing was lost"
    )
