"""A simulation's progress as bars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from shared_models import console


class SimulationBars:
    """Draws a simulation's progress: one bar a stage or arm, each replaced by a line when it ends."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._open = contextlib.ExitStack()

    def __enter__(self) -> SimulationBars:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def stage(self, title: str) -> Callable[[int, int], None]:
        """See :class:`simulations.simulate.Progress`."""
        self._begin(title)
        return self._open.enter_context(console.steps_progress(title, quiet=self._quiet))

    def arm(self, name: str, rounds: int) -> Callable[[dict[str, Any]], None]:
        """See :class:`simulations.simulate.Progress`."""
        self._begin(name)
        return self._open.enter_context(console.rounds_progress(name, rounds, quiet=self._quiet)).round

    def _begin(self, title: str) -> None:
        self._open.close()
        if not self._quiet:
            console.notices().print(console.styled(f"{title} ...", "dim"), highlight=False)
