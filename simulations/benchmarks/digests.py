"""Digests that tell whether stored figures still hold."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_CODE = ("client", "shared_models", "simulations/evaluation")
"""What speaks and what judges: after a change of it, nothing that was stored counts."""


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Of the code that makes clips and figures."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for source in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
