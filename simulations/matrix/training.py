"""Training one recipe of the matrix, once: what is finished is not trained again, and what was interrupted goes on.

::

    OUTPUT/recipes/NAME-DIGEST/   a run folder with one arm
                       outcome.json  what the training was, once it is over
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shared_models.base_model import load_base
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.speakers.adaptation import NOTHING
from simulations.matrix.recipes import Budget, Entry, started, steps_a_round
from simulations.preparation import Prepared, prepare
from simulations.pretraining import starting_weights
from simulations.run_folder import RunFolder
from simulations.simulate import DEFAULT_ARM, Progress, run_arm

OUTCOME = "outcome.json"
_PROBED = 2
"""Rounds that are timed for a budget of seconds; the first has the workers' start in it and does not count."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One recipe's training."""

    run: Path
    """Its run folder."""
    weights: str
    """Hash of the shared weights."""
    algorithm: str
    rounds: int
    steps: int
    """Gradient steps of all devices together, inner ones included."""
    seconds: float
    from_start: float
    """Share of the shared numbers that began as the public start has them."""
    personal: str
    """What a clone trains."""
    numbers: int
    """Of a voice, that it trains."""
    bytes: int

    @property
    def adapts(self) -> bool:
        """Whether a clone trains anything."""
        return self.personal != NOTHING


def train(entry: Entry, budget: Budget, output: Path, cache: Path, progress: Progress) -> Trained:
    """The recipe trained to the budget. Raises as :func:`simulations.simulate.simulate` does."""
    run = RunFolder(output / "recipes" / f"{entry.name}-{entry.digest}-{str(budget).replace(' ', '')}")
    if (run.path / OUTCOME).is_file():
        return Trained(run.path, **run.read_json(OUTCOME))
    if not entry.recipe.algorithm.federates and not entry.recipe.algorithm.pools_recordings:
        raise RecipeError(f"'{entry.name}' trains on each device alone, so that there is nothing to compare")
    data = prepare(entry.recipe, cache, progress.stage(f"{entry.name}: features"))
    recipe, from_start = started(data.recipe)
    if run.recipe_path.is_file():
        recipe = run.recipe()
    else:
        recipe = recipe.override({"federation.rounds": _rounds(recipe, budget, run, data, progress)})
        RunFolder.create(run.path, recipe)
    data = replace(data, recipe=recipe)
    outcome = run_arm(run, DEFAULT_ARM, recipe, data, progress, starting_weights(recipe))
    # Voices of the train speakers: nobody is cloned from them, and of some kinds they are gigabytes.
    shutil.rmtree(run.arm(DEFAULT_ARM).devices, ignore_errors=True)
    found = _trained(run, recipe, outcome, from_start)
    run.write_json(OUTCOME, {k: v for k, v in asdict(found).items() if k != "run"})
    return found


def _rounds(recipe: Recipe, budget: Budget, run: RunFolder, data: Prepared, progress: Progress) -> int:
    """As many as the budget has, one at least."""
    if budget.steps is not None:
        return max(1, round(budget.steps / steps_a_round(recipe)))
    assert budget.seconds is not None
    probed = recipe.override({"federation.rounds": _PROBED, "name": f"{recipe.name}-probe"})
    probe = RunFolder(run.path.with_name(f"{run.path.name}-probe"))
    shutil.rmtree(probe.path, ignore_errors=True)
    try:
        run_arm(probe, DEFAULT_ARM, probed, replace(data, recipe=probed), progress, starting_weights(probed))
        seconds = float(probe.arm(DEFAULT_ARM).metrics()[-1]["seconds"])
    finally:
        shutil.rmtree(probe.path, ignore_errors=True)
    return max(1, round(budget.seconds / seconds))


def _trained(run: RunFolder, recipe: Recipe, outcome: dict[str, Any], from_start: float) -> Trained:
    base = load_base(run.path)
    personal = base.recipe.for_cloning().speaker
    size = base.adapted(personal.adaptation).model.personal_size
    return Trained(
        run.path, base.hash, recipe.federation.algorithm, recipe.federation.rounds,
        recipe.federation.rounds * steps_a_round(recipe), outcome["seconds"], from_start, personal.personal,
        size.numbers, size.bytes,
    )  # fmt: skip
