"""What federating costs: a federated run against the same training steps in a bare PyTorch loop.

The bare loop makes the very same local rounds (same clients, batches, steps, from the same seeds) one after
another in one process, with all features in memory: no Flower, no wire, no files, no other processes. It is
timed with one torch thread and with one a core, and the better of the two is what the federation is held to.
Both sides go through one round first that is not counted, in which models are built and files first read.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from client.app import DEVICES_VARIABLE
from client.learning.cached_features import CachedFeatures
from client.learning.local_round import local_round
from client.learning.material import Material
from client.task import Task
from server.app import make_app, plan_for
from server.mechanisms import sample_cohort
from server.rounds import RoundReport
from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.warm_up import WARM_UP
from shared_models.config import Recipe
from shared_models.partition import PartitionedModel
from shared_models.seeds import generator
from simulations.benchmarks.threads import torch_threads
from simulations.engine import run_federation
from simulations.environment import usable_cores
from simulations.preparation import Prepared, make_devices, prepare

UNCOUNTED = 1
"""First rounds that no figure holds."""
TARGET = 1.10
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of one side."""

    startup_seconds: float
    """Until the first counted round begins."""
    seconds: float
    """Wall time of the counted rounds, checkpoints and everything between them included."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Both sides, measured alternately."""

    clients: int
    cohort: int
    rounds: int
    steps: int
    """Training steps that are timed: those of all clients in all counted rounds."""
    workers: int
    federated: list[Timing]
    bare: dict[int, list[Timing]]
    """By torch threads."""
    largest_difference: float
    """Between the final weights of the two sides: that they did the same work."""
    load_average: list[float]
    """Before and after, over one minute: on a busy machine the figures say little."""

    @property
    def baseline_threads(self) -> int:
        """The threads with which the bare loop was faster."""
        return min(self.bare, key=lambda threads: _typical(self.bare[threads]))

    @property
    def ratio(self) -> float:
        """Federated over the better bare loop, medians of the repeats."""
        return _typical(self.federated) / _typical(self.bare[self.baseline_threads])

    @property
    def ratio_to_ideal(self) -> float:
        """Federated over the one-thread loop spread over all workers without any loss: at best 1."""
        return _typical(self.federated) / (_typical(self.bare[1]) / self.workers)


def measure(recipe: Recipe, rounds: int, repeats: int, tell: Tell | None = None) -> Efficiency:
    """Time ``rounds`` counted rounds of ``recipe`` ``repeats`` times on every side. Raises :class:`CorpusError`.

    The recipe's arms, privacy noise and pretraining are left out.
    """
    tell = tell or (lambda _: None)
    tell("features")
    data = prepare(bare_recipe(recipe, rounds + UNCOUNTED))
    threads = sorted({1, usable_cores()})
    federated: list[Timing] = []
    bare: dict[int, list[Timing]] = {count: [] for count in threads}
    load = [os.getloadavg()[0]]
    difference, alone = 0.0, torch.empty(0)
    for repeat in range(1, repeats + 1):
        for count in threads:
            tell(f"bare loop, {count} thread(s), {repeat} of {repeats}")
            timing, expected = time_bare_loop(data, count)
            bare[count].append(timing)
            if count == 1:
                alone = expected
        tell(f"federated, {repeat} of {repeats}")
        timing, weights = time_federation(data)
        federated.append(timing)
        difference = max(difference, float((weights - alone).abs().max()))
    steps = sum(_steps(data, number) for number in _counted(data.recipe))
    return Efficiency(
        clients=len(data.train), cohort=data.recipe.federation.cohort, rounds=rounds, steps=steps,
        workers=_workers(data), federated=federated, bare=bare, largest_difference=difference,
        load_average=[*load, os.getloadavg()[0]],
    )  # fmt: skip


def bare_recipe(recipe: Recipe, rounds: int) -> Recipe:
    """The recipe with plain averaging, and without arms, noise and pretraining."""
    changes = {
        "federation.rounds": rounds,
        "federation.server_optimizer": "fedavg",
        "federation.server_lr": 1.0,
        "federation.sampling": "fixed",
        "privacy.mode": "none",
        "pretraining.steps": 0,
        "engine.kind": "process",
        "engine.threads": 1,
    }
    return recipe.model_copy(update={"arms": {}}).override(changes)


def time_federation(data: Prepared) -> tuple[Timing, Tensor]:
    """One federated run, server included: its timing and final weights ``(D,)``."""
    ends: list[float] = []
    final = torch.empty(0)

    def note(report: RoundReport, weights: Tensor) -> None:
        nonlocal final
        ends.append(time.perf_counter())
        if report.round == report.rounds:
            final = weights.clone()

    with tempfile.TemporaryDirectory() as folder:
        devices = make_devices(Path(folder).resolve() / "devices", data.train, data.cache)
        plan = plan_for(data.recipe, Path(folder) / "checkpoints", "efficiency", len(data.train))
        begun = time.perf_counter()
        run_federation(
            make_app(plan, note), engine=data.recipe.engine, clients=len(data.train),
            environment={DEVICES_VARIABLE: str(devices)},
        )  # fmt: skip
    start = ends[UNCOUNTED - 1]
    return Timing(start - begun, ends[-1] - start), final


def time_bare_loop(data: Prepared, threads: int) -> tuple[Timing, Tensor]:
    """The same rounds without a federation: timing and final weights ``(D,)``."""
    recipe = data.recipe
    begun = start = time.perf_counter()
    with torch_threads(threads):
        model: VoicePartition = PartitionedModel(build_model(recipe))
        model.reset_personal()
        fresh = model.personal_state()
        weights = model.shared_vector()
        material = [
            Material.split(
                list(CachedFeatures(u, data.cache, recipe.features)), recipe.client.support_fraction
            )
            for u in data.train.values()
        ]
        voices: dict[int, dict[str, Tensor]] = {}
        for number in range(1, recipe.federation.rounds + 1):
            if number == UNCOUNTED + 1:
                start = time.perf_counter()
            total = torch.zeros_like(weights)
            cohort = _cohort(recipe, len(material), number)
            for client in cohort:
                model.load_personal_state(voices.get(client, fresh))
                done = local_round(
                    model, weights, material[client], Task(recipe, "bare loop", number, client, True)
                )
                total += done.update.vector
                voices[client] = model.personal_state()
            weights = weights + total / len(cohort)
        return Timing(start - begun, time.perf_counter() - start), weights


def as_json(found: Efficiency) -> dict[str, Any]:
    """Figures in the field's terms."""
    return {
        "clients": found.clients, "cohort": found.cohort, "rounds": found.rounds, "steps": found.steps,
        "workers": found.workers,
        "federated_seconds": [t.seconds for t in found.federated],
        "federated_startup_seconds": [t.startup_seconds for t in found.federated],
        "bare_seconds": {str(n): [t.seconds for t in timings] for n, timings in found.bare.items()},
        "baseline_threads": found.baseline_threads, "ratio": found.ratio, "target": TARGET,
        "ratio_to_ideal": found.ratio_to_ideal, "largest_difference": found.largest_difference,
        "load_average": found.load_average,
    }  # fmt: skip


def _typical(timings: Sequence[Timing]) -> float:
    return median(timing.seconds for timing in timings)


def _counted(recipe: Recipe) -> range:
    return range(UNCOUNTED + 1, recipe.federation.rounds + 1)


def _workers(data: Prepared) -> int:
    return min(data.recipe.engine.workers or usable_cores(), len(data.train))


def _steps(data: Prepared, number: int) -> int:
    recipe = data.recipe
    warming_up = number <= recipe.aligner.warmup_rounds
    each = WARM_UP.steps(recipe) if warming_up else recipe.algorithm.local_steps(recipe)
    return each * len(_cohort(recipe, len(data.train), number))


def _cohort(recipe: Recipe, clients: int, number: int) -> list[int]:
    """The clients that the server samples in a round of a seeded run."""
    rate = min(1.0, recipe.federation.cohort / clients)
    return sample_cohort(
        range(clients), rate, generator(recipe.seed, "cohort", number), recipe.federation.sampling
    )
