"""The whole rehearsal: live first, then the simulation with the same seeds, then both side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from client.home.policy import Policy
from server.rounds import RoundReport
from shared_models.config import Recipe
from shared_models.recipes import find_recipe
from simulations.preparation import Prepared
from simulations.rehearsal.comparison import Difference, Simulated, compare, simulate_the_same
from simulations.rehearsal.kills import RandomKills
from simulations.rehearsal.live_federation import LiveFederation, Network, View
from simulations.rehearsal.voices import (
    applied,
    choose_speakers,
    rehearsal_changes,
    resolved_changes,
    write_voices,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is rehearsed."""

    recipe: Recipe
    serve_options: list[str]
    prepared: Prepared
    policy: Policy

    @property
    def devices(self) -> int:
        """How many take part."""
        return len(self.prepared.train)


class Watcher(Protocol):
    """Is told how it goes."""

    def stage(self, title: str) -> None:
        """Something begins."""

    def view(self, view: View) -> None:
        """How the live federation stands."""

    def killed(self, who: str) -> None:
        """A process was killed."""

    def simulated(self, report: RoundReport) -> None:
        """The simulation finished a round."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    rounds: list[dict[str, Any]]
    training_seconds: list[float]
    """A round's slowest device's own training, by its log."""
    sent: int
    received: int
    devices: int
    killed: list[str]
    left_behind: int
    simulated: Simulated | None = None
    difference: Difference | None = None

    def figures(self) -> dict[str, Any]:
        """Plain numbers, for a table and for ``--json``."""
        live = [float(line["seconds"]) for line in self.rounds]
        waits = [s - t for s, t in zip(live, self.training_seconds, strict=True)]
        each = self.devices * max(1, len(self.rounds))
        told: dict[str, Any] = {
            "devices": self.devices,
            "rounds": len(self.rounds),
            "live_seconds": live,
            "live_seconds_median": median(live),
            "training_seconds": self.training_seconds,
            "overhead_seconds_median": median(waits),
            "bytes_sent_a_device_and_round": round(self.sent / each),
            "bytes_received_a_device_and_round": round(self.received / each),
            "killed": self.killed,
            "processes_left_behind": self.left_behind,
        }
        if self.simulated is not None and self.difference is not None:
            told |= {
                "simulation_seconds": self.simulated.round_seconds,
                "simulation_seconds_median": median(self.simulated.round_seconds),
                "largest_difference": self.difference.shared,
                "largest_personal_difference": self.difference.personal,
                "tensors_that_differ": self.difference.tensors,
                "equal": self.difference.equal,
            }
        return told


def plan_rehearsal(
    recipe: str,
    devices: int,
    rounds: int | None,
    corpus: str | None = None,
    override: list[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> Plan:
    """Choose speakers and settle the recipe. Raises :class:`CorpusError`, :class:`RecipeError`."""
    changes = [*rehearsal_changes(devices, rounds, corpus), *(override or [])]
    chosen = find_recipe(recipe, changes)
    chosen.refuse_without_updates()
    prepared = choose_speakers(chosen, devices, cache, progress)
    changes += resolved_changes(chosen, prepared)
    # Few devices and, mostly, no privacy; and the weights that the simulation begins with.
    options = ["--recipe", recipe, "--base", "random", "--force"]
    options += [word for change in changes for word in ("--set", change)]
    return Plan(applied(chosen, changes), options, prepared, policy_of(chosen))


def policy_of(recipe: Recipe) -> Policy:
    """What the rehearsal's devices allow, in so many words: the recipe's mode, also where that is no privacy.

    A rehearsal has as few devices, and as small batches, as its machine bears; both are allowed here.
    """
    if recipe.privacy.mode == "none":
        return Policy(modes=("none",), minimum_batch=1)
    return Policy(
        modes=("central",), total_epsilon=1000.0, epsilon_per_run=1000.0, total_epsilon_without_sampling=1000.0,
        minimum_noise_multiplier=0.01, minimum_batch=1, minimum_cohort=1,
    )  # fmt: skip


def rehearse(
    plan: Plan, folder: Path, watcher: Watcher, *, compare_too: bool = True, kills: int = 0, seed: int = 0,
    network: Network | None = None, on_look: Callable[[LiveFederation], None] | None = None,
) -> Outcome:  # fmt: skip
    """Run ``plan`` live in ``folder``, with so many random kills, and in simulation.

    Under central privacy the live noise is nobody's to repeat, so nothing is compared. ``on_look`` is called
    often while the live federation runs.
    """
    voices = write_voices(folder / "voices", plan.prepared)
    federation = LiveFederation(folder / "live", plan.serve_options, voices, plan.policy, network)
    killer = RandomKills(federation, kills, seed, watcher.killed)

    def look() -> None:
        if kills:
            killer()
        if on_look is not None:
            on_look(federation)

    with federation:
        watcher.stage("starting the server")
        federation.serve()
        watcher.stage(f"{plan.devices} devices join")
        federation.join_all()
        watcher.stage("rounds")
        federation.watch(watcher.view, look)
        view = federation.view()
    outcome = Outcome(
        rounds=federation.rounds(),
        training_seconds=_training_seconds(federation, plan.recipe.federation.rounds),
        sent=view.sent,
        received=view.received,
        devices=plan.devices,
        killed=killer.done,
        left_behind=len(federation.left_behind),
    )
    if not compare_too or plan.recipe.privacy.mode != "none":
        return outcome
    watcher.stage("the same in simulation")
    simulated = simulate_the_same(folder / "simulation", plan.recipe, plan.prepared, watcher.simulated)
    homes = [federation.device_home(number) for number in range(plan.devices)]
    difference = compare(
        federation.home.checkpoints, homes, federation.home.settings().run, simulated,
        plan.recipe.federation.rounds,
    )  # fmt: skip
    return Outcome(
        outcome.rounds, outcome.training_seconds, outcome.sent, outcome.received, outcome.devices,
        outcome.killed, outcome.left_behind, simulated, difference,
    )  # fmt: skip


def _training_seconds(federation: LiveFederation, rounds: int) -> list[float]:
    """The slowest device's training of each round, which a federation cannot be faster than."""
    slowest = [0.0] * rounds
    for number in range(len(federation.devices)):
        log = federation.device_home(number) / "training.jsonl"
        for line in log.read_text().splitlines() if log.exists() else []:
            entry = json.loads(line)
            if "seconds" in entry:
                at = int(entry["round"]) - 1
                slowest[at] = max(slowest[at], float(entry["seconds"]))
    return slowest
