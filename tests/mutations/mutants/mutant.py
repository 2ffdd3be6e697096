"""One planted bug: what it changes, which promise that breaks, and the tests that notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """A text that stands exactly once in a file, and what takes its place."""

    file: str
    """Relative to the repository."""
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug."""

    name: str
    breaks: str
    """The promise that no longer holds, in one sentence."""
    edits: tuple[Edit, ...]
    killed_by: tuple[str, ...]
    """Ids of tests, relative to ``tests/``; each passes on the code as it is, and one at least fails on the mutant."""
    equivalent: str = ""
    """Why no test can tell it from the code as it is; empty for every other."""


def mutant(name: str, breaks: str, edit: Edit | tuple[Edit, ...], *killed_by: str) -> Mutant:
    """A planted bug of one edit or several."""
    edits = edit if isinstance(edit, tuple) else (edit,)
    return Mutant(name, breaks, edits, killed_by)
