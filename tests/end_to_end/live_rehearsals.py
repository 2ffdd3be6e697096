"""Rehearsals of a tiny recipe, for tests: five small devices of embedded voices, one gradient step a round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_federation import features_of_tests, tiny_overrides

from simulations.rehearsal.live_federation import LiveFederation, Network
from simulations.rehearsal.rehearsal import Plan, plan_rehearsal
from simulations.rehearsal.voices import write_voices

PATIENCE = 240.0
"""Seconds; what a step takes depends on what else the machine does."""


def tiny_changes(**changes: Any) -> list[str]:
    """What the smallest recipe sets, without what a rehearsal decides itself; ``a__b`` stands for ``a.b``."""
    words = tiny_overrides(**({"client__outer_steps": 1} | changes))[1::2]
    decided = {"corpus.speakers", "corpus.test_speakers", "federation.rounds", "federation.cohort"}
    asked = {name.replace("__", ".") for name in changes}
    return [word for word in words if word.partition("=")[0] not in decided - asked]


def tiny_plan(devices: int, rounds: int, corpus: str | None = None, **changes: Any) -> Plan:
    """A rehearsal that trains next to nothing, in real processes."""
    return plan_rehearsal(
        "default", devices, rounds, corpus, tiny_changes(**changes), cache=features_of_tests()
    )


def federation_of(plan: Plan, folder: Path, network: Network | None = None) -> LiveFederation:
    """The live half of a rehearsal alone."""
    voices = write_voices(folder / "voices", plan.prepared)
    return LiveFederation(folder / "live", plan.serve_options, voices, plan.policy, network, PATIENCE)


class Told:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.views: list[Any] = []
        self.stages: list[str] = []

    def stage(self, title: str) -> None:
        self.stages.append(title)
        print(title, flush=True)

    def view(self, view: Any) -> None:
        self.views.append(view)

    def killed(self, who: str) -> None:
        print("killed", who, flush=True)

    def simulated(self, report: Any) -> None:
        pass
