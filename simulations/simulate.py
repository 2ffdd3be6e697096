"""A whole simulation: prepare the corpus, run every arm, clone unseen speakers with each, write the report.

Every part leaves its outcome in the run folder before the next begins, and looks there first: started again
on the same folder, it goes on where it was interrupted and ends with the same weights and figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from client.app import DEVICES_VARIABLE
from server.accounting import accountant_for
from server.app import make_app, plan_for
from server.checkpoints import latest_checkpoint
from server.rounds import FederationPlan, RoundReport
from shared_models.accelerator import accelerator_of
from shared_models.acoustic.dimensions import dimensions
from shared_models.algorithms.algorithm import Sends
from shared_models.compression import bytes_a_round
from shared_models.config import Recipe
from shared_models.partition import weights_hash
from simulations.centralised import train_centralised
from simulations.engine import run_federation
from simulations.evaluation.comparison import compare_arms
from simulations.meta_centralised import train_meta_centralised
from simulations.preparation import Prepared, make_devices, prepare
from simulations.pretraining import pretrain, pretraining_recipe, refuse_public_clients
from simulations.reports.report import write_report
from simulations.run_folder import ArmFolder, RunFolder, ScalarLog
from simulations.validation import Validation, training_loss_of_round

DEFAULT_ARM = "federated"


class Progress(Protocol):
    """What a simulation tells whoever watches."""

    def stage(self, title: str) -> Callable[[int, int], None]:
        """A long piece of work begins; the callback takes ``(done, total)``."""

    def arm(self, name: str, rounds: int) -> Callable[[dict[str, Any]], None]:
        """An arm begins; the callback takes each round's metrics."""


def simulate(
    run: RunFolder,
    recipe: Recipe,
    progress: Progress,
    *,
    cache: Path | None = None,
    ray_address: str | None = None,
) -> dict[str, Any]:
    """Run (or go on with) a simulation in ``run`` and return its results."""
    started = time.monotonic()
    dimensions(recipe.model)  # sizes that do not fit are refused before the features are made
    refuse_public_clients(recipe)
    data = prepare(recipe, cache, progress.stage("features"))
    arms = {name: _arm_recipe(data.recipe, name) for name in (recipe.arms or {DEFAULT_ARM: {}})}
    public = run.path / "pretraining"
    rounds = pretraining_recipe(data.recipe).federation.rounds if data.recipe.pretraining.steps else 1
    initial = pretrain(data.recipe, public, data.cache, progress.stage, progress.arm("pretraining", rounds))
    outcomes = {
        name: run_arm(run, name, arm, data, progress, initial, ray_address) for name, arm in arms.items()
    }
    judged = compare_arms(
        {name: (arm, _weights_of(run.arm(name), arm, public), run.arm(name).path) for name, arm in arms.items()},
        data, run.path / "anchors", progress.stage("cloning unseen speakers"),
    )  # fmt: skip
    for name in arms:
        judged["arms"][name] = outcomes[name] | _paths_within_run(judged["arms"][name], name)
    results = {"recipe": recipe.name, **judged, "speakers": len(data.train), "unseen_speakers": len(data.test),
               "left_out": len(data.left_out), "seconds": round(time.monotonic() - started, 1),
               "notes": _notes(data)}  # fmt: skip
    run.write_results(results)
    run.rebuild_tensorboard()
    write_report(run)
    return results


def run_arm(
    run: RunFolder,
    name: str,
    recipe: Recipe,
    data: Prepared,
    progress: Progress,
    initial: Tensor | None = None,
    ray_address: str | None = None,
) -> dict[str, Any]:
    """Train one arm to its last round; what the results say of it beside the clones."""
    folder = run.arm(name)
    plan = plan_for(
        recipe,
        folder.checkpoints,
        f"{recipe.name}-{name}",
        len(data.train),
        initial=initial,
        seeded_noise=True,
    )
    outcome: dict[str, Any] = {
        "algorithm": recipe.federation.algorithm,
        "description": _describe(recipe, plan),
    }
    algorithm = recipe.algorithm
    if algorithm.sends is not Sends.NOTHING:
        watch = _Watch(
            folder, recipe, data, progress.arm(name, recipe.federation.rounds), run.tensorboard_path / name
        )
        with watch.scalars:
            if algorithm.pools_recordings:
                train = train_meta_centralised if algorithm.order else train_centralised
                train(recipe, data, folder.checkpoints, watch.centralised_round, initial)
            else:
                _federate(plan, data, folder, watch, ray_address)
        metrics = folder.metrics()
        outcome["seconds"] = round(sum(m["seconds"] for m in metrics), 1)
        outcome["validation_loss"] = next(
            (m["validation_loss"] for m in reversed(metrics) if m["validation_loss"] is not None), None
        )
    if algorithm.federates:
        outcome["bytes_per_client_round"] = sum(bytes_a_round(recipe.compression, plan.partition))
        outcome["coordinates"] = plan.partition.size
    if (trained := latest_checkpoint(folder.checkpoints)) is not None:
        outcome["weights"] = weights_hash(trained.weights)
    outcome["computed_on"] = str(accelerator_of(recipe.engine))
    return outcome | {"protection": recipe.protection, "epsilon": privacy_statement(recipe, plan)}


def privacy_statement(recipe: Recipe, plan: FederationPlan) -> dict[str, Any] | None:
    """What the whole run costs in privacy, with everything that the number assumes."""
    accountant = accountant_for(recipe, plan.clients)
    if accountant is None:
        return None
    accountant.step(recipe.federation.rounds)
    return {
        "epsilon": accountant.epsilon(recipe.privacy.delta),
        "delta": recipe.privacy.delta,
        "noise_multiplier": accountant.noise_multiplier,
        "clipping_norm": recipe.privacy.clipping_norm,
        "sampling_probability": accountant.sampling_probability,
        "rounds": recipe.federation.rounds,
        "unit": "person",
        "assumed_cohort": accountant.cohort,
        "assumed_population": accountant.population,
        "simulated_cohort": recipe.federation.cohort,
        "simulated_population": plan.clients,
        "statement": accountant.describe(recipe.privacy.delta),
    }


def _federate(
    plan: FederationPlan, data: Prepared, folder: ArmFolder, watch: _Watch, ray_address: str | None
) -> None:
    devices = make_devices(folder.devices.resolve(), data.train, data.cache)
    run_federation(
        make_app(plan, watch.federated_round),
        engine=plan.recipe.engine,
        clients=plan.clients,
        environment={DEVICES_VARIABLE: str(devices)},
        ray_address=ray_address,
    )


class _Watch:
    """Writes a round's metrics down, with the losses that only a simulation may look at."""

    def __init__(
        self,
        folder: ArmFolder,
        recipe: Recipe,
        data: Prepared,
        tell: Callable[[dict[str, Any]], None],
        scalars: Path,
    ) -> None:
        self._folder = folder
        self._recipe = recipe
        self._validation = Validation(recipe, data)
        self._tell = tell
        earlier = folder.metrics()
        self.scalars = ScalarLog(scalars, earlier)
        self._run = f"{recipe.name}-{folder.name}"
        self._started = time.monotonic()
        for metrics in earlier:
            tell(metrics)

    def federated_round(self, report: RoundReport, weights: Tensor) -> None:
        loss = training_loss_of_round(self._folder.devices, self._run, report.round)
        self._write(report.round, weights, report.seconds, loss, report.update_norm,
                    {"epsilon": report.epsilon, "clients": report.clients, "dropped": report.dropped})  # fmt: skip

    def centralised_round(self, number: int, loss: float, update_norm: float, weights: Tensor) -> None:
        seconds = time.monotonic() - self._started
        self._write(number, weights, seconds, loss, update_norm, {"epsilon": None, "clients": None})
        self._started = time.monotonic()

    def _write(
        self,
        number: int,
        weights: Tensor,
        seconds: float,
        loss: float,
        update_norm: float,
        more: dict[str, Any],
    ) -> None:
        due = number % self._recipe.evaluation.every == 0 or number in {1, self._recipe.federation.rounds}
        metrics = {
            "round": number,
            "train_loss": loss,
            "validation_loss": self._validation.loss(weights) if due else None,
            "seconds": round(seconds, 3),
            "update_norm": update_norm,
            **more,
        }
        self._folder.append(metrics)
        self.scalars.add(metrics)
        self._tell(metrics)


def _arm_recipe(recipe: Recipe, name: str) -> Recipe:
    return recipe.arm(name) if recipe.arms else recipe


def _weights_of(folder: ArmFolder, recipe: Recipe, public: Path) -> Path | None:
    """Where the weights are that an arm's clones are made with; None for random ones."""
    if recipe.algorithm.sends is not Sends.NOTHING:
        return folder.checkpoints
    return public if recipe.pretraining.steps or recipe.pretraining.start else None


def _paths_within_run(judged: dict[str, Any], arm: str) -> dict[str, Any]:
    """File names relative to the run folder rather than to the arm's."""
    for speaker in judged["speakers"]:
        speaker["audio"] = {way: f"arms/{arm}/{path}" for way, path in speaker["audio"].items()}
    return judged


def _describe(recipe: Recipe, plan: FederationPlan) -> str:
    federation = recipe.federation
    steps = recipe.algorithm.outer.steps(recipe)
    match recipe.algorithm.sends:
        case Sends.RECORDINGS:
            return f"all recordings pooled, {federation.rounds * steps} steps"
        case Sends.NOTHING:
            return f"the whole model on the support alone, {steps} steps"
        case sent:
            return (
                f"{federation.algorithm}: {plan.clients} devices, about {federation.cohort} a round, "
                f"{federation.rounds} rounds, {sent.value} sent"
            )


def _notes(data: Prepared) -> list[str]:
    notes = ["Figures are of speech with the postfilter and before the mark; the sound files are marked."]
    notes += [f"{name} left out: {reason}" for name, reason in data.left_out[:50]]
    if data.recipe.aligner.learn == "always":
        notes.append("Durations were learnt by the unsupervised aligner; the corpus brings no alignments.")
    return notes
