"""What compression saves and what it costs: federations that differ in nothing but how weights and updates travel.

Every arm starts from the packaged base and draws the same cohorts and batches; unseen speakers are then cloned
with its weights. Differences to the first arm are paired by speaker: what speakers differ in cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.app import DEVICES_VARIABLE
from server.app import make_app, plan_for
from server.checkpoints import latest_checkpoint
from shared_models.base_model import packaged_base
from shared_models.compression import bytes_a_round
from shared_models.config import Recipe
from shared_models.errors import FedVoiceError, RecipeError
from shared_models.pretrained import ACOUSTIC
from simulations.engine import run_federation
from simulations.evaluation.bootstrap import Estimate, bootstrap_mean
from simulations.evaluation.comparison import compare_arms
from simulations.preparation import Prepared, make_devices, prepare
from simulations.validation import Validation

START = "start, no rounds"
METRICS = ("similarity_after", "mcd_after")
_VALIDATION_SETTINGS = {"evaluation.validation": 60}
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Cost:
    """One way to travel."""

    name: str
    down: int
    """Bytes that a device receives in a round, without header and without first weights sent once."""
    up: int
    """Bytes that it sends."""
    figures: dict[str, float]
    """Means over unseen speakers of :data:`METRICS`."""
    differences: dict[str, Estimate]
    """To the first arm, in percent of its mean, with 95 % intervals over speakers."""
    validation_loss: float
    """On unseen speakers' utterances without cloning: fewer causes of chance than in the clones."""


@dataclass(frozen=True, slots=True)
class CompressionBench:
    """All ways to travel; ``costs[0]`` is what the others are compared with."""

    recipe: Recipe
    coordinates: int
    costs: tuple[Cost, ...]


def measure_compression(
    recipe: Recipe,
    folder: Path,
    *,
    cache: Path | None = None,
    stage: Callable[[str], Progress] | None = None,
) -> CompressionBench:
    """Run every arm of ``recipe`` in ``folder``, or go on where a run there ended, and judge their clones.

    Raises :class:`RecipeError` for a recipe without arms or of another model than the packaged base's.
    """
    if not recipe.arms:
        raise RecipeError(f"recipe '{recipe.name}' has no arms to compare: give it [arms.NAME] tables")
    data = prepare(recipe, cache, stage("features") if stage else None)
    arms = {name: data.recipe.arm(name) for name in recipe.arms}
    for name, arm in arms.items():
        _federate(arm, name, folder / name, data, stage(name) if stage else None)
    judged = compare_arms(
        {START: (data.recipe, ACOUSTIC, folder / "start")}
        | {name: (arm, folder / name / "checkpoints", folder / name) for name, arm in arms.items()},
        data, folder / "anchors", stage("cloning unseen speakers") if stage else None,
    )["arms"]  # fmt: skip
    base = packaged_base().model
    first = judged[next(iter(arms))]["speakers"]
    validation = Validation(data.recipe.override(_VALIDATION_SETTINGS), data)
    costs = []
    for name, arm in arms.items():
        trained = latest_checkpoint(folder / name / "checkpoints")
        assert trained is not None
        traffic = bytes_a_round(arm.compression, base.partition)
        loss = validation.loss(trained.weights)
        costs.append(_cost(name, traffic, loss, judged[name]["speakers"], first))
    loss = validation.loss(base.shared_vector())
    costs.append(_cost(START, (0, 0), loss, judged[START]["speakers"], first))
    return CompressionBench(data.recipe, base.partition.size, tuple(costs))


def _federate(recipe: Recipe, name: str, folder: Path, data: Prepared, progress: Progress | None) -> None:
    base = packaged_base().model
    initial = base.shared_vector()
    plan = plan_for(recipe, folder / "checkpoints", name, len(data.train), initial=initial, seeded_noise=True)
    if plan.partition.schema != base.partition.schema:
        raise RecipeError(
            f"recipe '{recipe.name}' makes another model than the packaged base: take that one's [model], as the "
            "recipe 'compression' has it, and aligner.learn = 'always'"
        )
    done = latest_checkpoint(plan.folder, schema=plan.partition.schema)
    if done is not None and done.round == recipe.federation.rounds:
        return

    def watch(report: Any, _: Any) -> None:
        if report.dropped:
            raise FedVoiceError(f"{name}, round {report.round}: updates were dropped: {report.dropped}")
        if progress is not None:
            progress(report.round, report.rounds)

    devices = make_devices((folder / "devices").resolve(), data.train, data.cache)
    run_federation(
        make_app(plan, watch),
        engine=recipe.engine,
        clients=plan.clients,
        environment={DEVICES_VARIABLE: str(devices)},
    )


def _cost(
    name: str,
    traffic: tuple[int, int],
    loss: float,
    speakers: Sequence[dict[str, Any]],
    first: Sequence[dict[str, Any]],
) -> Cost:
    figures, differences = {}, {}
    for metric in METRICS:
        own, reference = [s[metric] for s in speakers], [s[metric] for s in first]
        figures[metric] = sum(own) / len(own)
        mean = sum(reference) / len(reference)
        pairs = [100 * (a - b) / mean for a, b in zip(own, reference, strict=True)]
        differences[metric] = bootstrap_mean(pairs)
    return Cost(name, *traffic, figures, differences, loss)


def as_json(found: CompressionBench) -> dict[str, Any]:
    """Plain data for ``--json``."""
    plain = found.costs[0].down + found.costs[0].up
    return {
        "coordinates": found.coordinates,
        "rounds": found.recipe.federation.rounds,
        "cohort": found.recipe.federation.cohort,
        "arms": {
            cost.name: {
                "down_bytes": cost.down,
                "up_bytes": cost.up,
                "ratio": plain / (cost.down + cost.up) if cost.up else None,
                "validation_loss": cost.validation_loss,
                **cost.figures,
                **{
                    f"{metric}_difference_percent": {"mean": d.mean, "low": d.low, "high": d.high}
                    for metric, d in cost.differences.items()
                },
            }
            for cost in found.costs
        },
    }
