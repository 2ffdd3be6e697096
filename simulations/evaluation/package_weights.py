"""Weights that lie in other people's packages, of which nothing else is used."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def file_of_package(package: str, name: str) -> Path | None:
    """The file ``name`` of an installed package, which is not imported for it; None where it is not there."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / name
    return path if path.is_file() else None
