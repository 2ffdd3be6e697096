"""What it costs a speaker encoder to have layer norms, which a federation can train, where the paper has batch norms.

Batch norms mix the utterances of a batch and keep running statistics: they have no per-sample gradients, and their
statistics can be neither clipped nor noised. The same training is run with both, from the same seeds on the same
batches. A network with layer norms also has zeros around its edges, where batch norms come with reflection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from shared_models.config import Recipe
from shared_models.errors import CorpusError, RecipeError
from simulations.evaluation.bootstrap import Estimate, bootstrap_mean
from simulations.preparation import Prepared
from simulations.run_folder import RunFolder
from simulations.speaker_identification import train_encoder

Norm = Literal["batch", "layer"]
NORMS: tuple[Norm, ...] = ("batch", "layer")


@dataclass(frozen=True, slots=True)
class NormsBench:
    """Equal error rates on unseen speakers, one a seed."""

    eer: dict[Norm, list[float]]
    loss: dict[Norm, list[float]]
    """Mean training loss of the last steps."""
    seeds: list[int]
    difference: Estimate
    """Of the rates, layer norms less batch norms, over seeds."""

    def mean_of(self, norm: Norm) -> float:
        """The mean rate."""
        return mean(self.eer[norm])

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure_norms(
    recipe: Recipe,
    data: Prepared,
    folder: Path,
    seeds: Sequence[int],
    stage: Callable[[str], Callable[[int, int], None]] = lambda _: lambda _done, _total: None,
) -> NormsBench:
    """Train ``recipe``'s encoder with both norms for each of ``seeds``; runs in ``folder`` go on where they were.

    Raises :class:`RecipeError` for an encoder without norms.
    """
    if recipe.encoder.kind == "d_vector":
        raise RecipeError("a d_vector has no norms to compare: choose x_vector or ecapa")
    eer: dict[Norm, list[float]] = {norm: [] for norm in NORMS}
    loss: dict[Norm, list[float]] = {norm: [] for norm in NORMS}
    for seed in seeds:
        for norm in NORMS:
            last = _trained(
                recipe.override({"encoder.norm": norm, "seed": seed}), data, folder / f"{norm}-{seed}", stage
            )
            eer[norm].append(float(last["eer"]))
            loss[norm].append(float(last["loss"]))
    differences = [layer - batch for layer, batch in zip(eer["layer"], eer["batch"], strict=True)]
    return NormsBench(eer, loss, list(seeds), bootstrap_mean(differences))


def _trained(
    recipe: Recipe, data: Prepared, path: Path, stage: Callable[[str], Callable[[int, int], None]]
) -> dict[str, Any]:
    """The last line of a training's metrics, with the rate on unseen speakers."""
    run = RunFolder.open(path) if path.exists() else RunFolder.create(path, recipe)
    if run.recipe() != recipe:
        raise RecipeError(f"{path} holds a training of another recipe: choose another --output, or remove it")
    train_encoder(run, recipe, data, on_step=stage(f"{recipe.encoder.norm} norms, seed {recipe.seed}"))
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last: dict[str, Any] = json.loads(lines[-1])
    if last["eer"] is None:
        raise CorpusError(
            "an equal error rate needs at least 2 unseen speakers: mark whole speakers as test (split = test)"
        )
    return last
