"""Which files and folders others than their owner may use."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def open_to_others(folder: Path) -> list[str]:
    """Whatever in ``folder``, and the folder itself, is not its owner's alone."""
    found = [folder, *folder.rglob("*")]
    return [f"{path}: {path.lstat().st_mode & 0o777:o}" for path in found if _is_open(path)]


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """This process's umask within the block."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _is_open(path: Path) -> bool:
    mode = path.lstat().st_mode
    return not stat.S_ISLNK(mode) and bool(mode & 0o077)
