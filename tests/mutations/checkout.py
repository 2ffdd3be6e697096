"""A copy of the checkout in which bugs are planted: the working tree itself is never changed."""

from __future__ import annotations

import compileall
import contextlib
import py_compile
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from mutants.mutant import Mutant

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("server", "client", "shared_models", "simulations", "tests", "pyproject.toml")


class DoesNotApplyError(Exception):
    """An edit's text is not in its file exactly once."""


def misfits(mutant: Mutant, root: Path = REPOSITORY) -> list[str]:
    """Why ``mutant`` does not apply to the code in ``root``: one sentence for each edit that does not."""
    found = []
    for edit in mutant.edits:
        path = root / edit.file
        times = path.read_text(encoding="utf-8").count(edit.old) if path.is_file() else 0
        if times != 1:
            found.append(
                f"'{mutant.name}' does not apply: {edit.file} holds {edit.old!r} {times} times, not once"
            )
    return found


@contextlib.contextmanager
def planted(mutant: Mutant, root: Path) -> Iterator[None]:
    """``root`` with the bug in it. Raises :class:`DoesNotApplyError` naming every edit that does not fit."""
    if problems := misfits(mutant, root):
        raise DoesNotApplyError("; ".join(problems))
    before = {edit.file: (root / edit.file).read_text(encoding="utf-8") for edit in mutant.edits}
    try:
        for edit in mutant.edits:
            text = (root / edit.file).read_text(encoding="utf-8")
            (root / edit.file).write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        yield
    finally:
        for file, text in before.items():
            (root / file).write_text(text, encoding="utf-8")


def copy_checkout(into: Path) -> Path:
    """Copy what the tests need, as it is in the working tree now, and compile it; returns the copy's root."""
    for file in _files():
        target = into / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / file, target)
    # By hash and not by time: a file that is changed and put back within a second is never taken for the other.
    compileall.compile_dir(
        into, quiet=2, maxlevels=12, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
    )
    return into


def _files() -> Sequence[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *ROOMS],
        cwd=REPOSITORY, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode == 0:
        return [file for file in listed.stdout.split("\0") if file and (REPOSITORY / file).is_file()]
    found = [path for room in ROOMS for path in (REPOSITORY / room, *(REPOSITORY / room).rglob("*"))]
    return [str(path.relative_to(REPOSITORY)) for path in found if path.is_file() and path.suffix != ".pyc"]
