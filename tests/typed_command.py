"""A ``fedvoice`` command as it is typed, run in this process: a process of its own takes seconds to begin."""

from __future__ import annotations

from subprocess import CompletedProcess

import pytest

from simulations.cli import run


class Typed:
    """Runs commands and gives what each printed; what was printed before is forgotten."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *arguments: str) -> CompletedProcess[str]:
        self._captured.readouterr()
        code = run(arguments)
        shown = self._captured.readouterr()
        return CompletedProcess(arguments, code, shown.out, shown.err)
