"""The kinds of a part that a recipe may name: where each is found, without importing any before it is wanted.

A package of kinds has one dict in its ``__init__``, from a kind's name to the class that is it. A recipe is checked
against the dict's names, so that a recipe can be read where torch is not loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

Kinds = Mapping[str, str]
"""Name of a kind to ``package.module.Class``."""


def known(kind: str, kinds: Kinds, what: str) -> str:
    """``kind`` if there is such a one; ``what`` says in the error what it would be. Raises ValueError."""
    if kind not in kinds:
        raise ValueError(f"there is no {what} '{kind}': choose among {', '.join(kinds)}")
    return kind


def class_at(path: str) -> Any:
    """The class at ``package.module.Class``."""
    module, name = path.rsplit(".", 1)
    return getattr(import_module(module), name)
