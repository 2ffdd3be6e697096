"""Judging one arm of a run again: on its own unseen speakers, on more of them, or on another corpus's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from server.checkpoints import latest_checkpoint
from shared_models.accelerator import Accelerator
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.algorithms.algorithm import Sends
from shared_models.base_model import load_base
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from simulations.evaluation.comparison import compare_arms, unseen_material
from simulations.preparation import Prepared, prepare_unseen
from simulations.run_folder import RunFolder

PREFERRED = ("federated_dp", "federated")
INITIAL = "initial weights"


def choose_arm(run: RunFolder, name: str | None) -> str:
    """The arm called ``name``, or the one that a run is for. Raises :class:`RecipeError`."""
    names = list(run.recipe().arms) or ["federated"]
    if name is None:
        name = next((preferred for preferred in PREFERRED if preferred in names), names[0])
    if name not in names:
        raise RecipeError(f"{run.path} has no arm '{name}': choose one of {', '.join(names)}")
    return name


def evaluate_arm(
    run: RunFolder,
    arm: str,
    *,
    corpus: str | None = None,
    queries: int | None = None,
    speakers: int | None = None,
    device: str = "auto",
    cache: Path | None = None,
    stage: Callable[[str], Callable[[int, int], None]] | None = None,
) -> dict[str, Any]:
    """Clone and judge unseen speakers with the weights of ``arm``; a results file of that arm alone.

    ``device`` is where to compute, as :meth:`Accelerator.resolve` takes it.

    Everything is stored in a folder under ``RUN/evaluations``, named after what was judged: asked the same
    again, or after an interruption, only what is missing is computed. Raises :class:`CorpusError` without
    unseen speakers, and :class:`RecipeError` for recordings that the model cannot align.
    """
    own = run.recipe().arm(arm) if run.recipe().arms else run.recipe()
    weights = _weights(run, arm, own)
    recipe, base = own, INITIAL
    if weights is not None:
        loaded = load_base(weights)
        base = loaded.hash
        # A pretrained model's own recipe is not the one that its clones are adapted by.
        recipe = own.override({"aligner": loaded.recipe.aligner.model_dump()})
    on = str(Accelerator.resolve(device, recipe.engine.precision))
    recipe = recipe.override({**_changes(recipe, corpus, queries, speakers), "engine.device": device})
    data = prepare_unseen(recipe, cache, stage("features") if stage else None)
    recipe = _aligned(recipe, data, weights)
    folder = run.path / "evaluations" / _name(arm, base, recipe, data)
    watched = stage("cloning unseen speakers") if stage else None
    judged = compare_arms({arm: (recipe, weights, folder)}, data, folder / "anchors", watched)
    judged["arms"][arm]["epsilon"] = _spent(recipe, weights)
    results = {
        "recipe": recipe.name, "computed_on": on, **judged, "corpus": Path(recipe.corpus.path).name, "base": base,
        "unseen_speakers": len(unseen_material(recipe, data)), "left_out": len(data.left_out),
    }  # fmt: skip
    RunFolder(folder).write_results(results)
    return results | {"folder": str(folder)}


def _weights(run: RunFolder, arm: str, recipe: Recipe) -> Path | None:
    """Where the arm's shared weights are. A device that trains alone starts from the public ones, or from none."""
    if recipe.algorithm.sends is not Sends.NOTHING:
        arms = run.arm(arm).checkpoints
        # A live server's home has no arms.
        return arms if arms.is_dir() or not (run.path / "checkpoints").is_dir() else run.path / "checkpoints"
    return run.path / "pretraining" if recipe.pretraining.steps or recipe.pretraining.start else None


def _changes(recipe: Recipe, corpus: str | None, queries: int | None, speakers: int | None) -> dict[str, Any]:
    changes: dict[str, Any] = {"corpus.test_speakers": None} if speakers is not None else {}
    if corpus is not None:
        # How long a recording may be is the recipe's; which speakers there are is the corpus's own.
        lengths = recipe.corpus.model_dump(include={"min_seconds", "max_seconds"})
        path = corpus if corpus == "embedded" else str(Path(corpus).resolve())
        changes = {"corpus": {"path": path, **lengths}}
    if queries is not None:
        changes["evaluation.queries"] = queries
    if speakers is not None:
        changes["evaluation.speakers"] = speakers
    return changes


def _aligned(recipe: Recipe, data: Prepared, weights: Path | None) -> Recipe:
    """The recipe with its aligner resolved; refuses recordings that the trained model cannot align."""
    needed = data.recipe.aligner.learn == "always"
    if weights is None:
        return recipe.override({"aligner.learn": data.recipe.aligner.learn})
    if needed and recipe.aligner.learn == "never":
        raise RecipeError(
            f"{recipe.corpus.path} comes without alignments and this model was trained on a corpus that brings them, "
            "so it has no aligner: bring alignments, or train with aligner.learn = 'always'"
        )
    return recipe


def _name(arm: str, base: str, recipe: Recipe, data: Prepared) -> str:
    """Tells apart whatever leads to other figures: weights, settings, recordings."""
    settings = recipe.model_dump(mode="json", include={"features", "client", "cloning", "evaluation", "seed"})
    material = [
        [(u.utterance_id, u.text, u.audio.stat().st_size) for u in part]
        for parts in unseen_material(recipe, data).values()
        for part in parts
    ]
    digest = hashlib.sha256(json.dumps([base, settings, material]).encode()).hexdigest()[:8]
    return f"{arm}-{Path(recipe.corpus.path).stem}-{digest}"


def _spent(recipe: Recipe, weights: Path | None) -> dict[str, Any] | None:
    """What the weights have cost in privacy so far, by their own checkpoint's ledger."""
    checkpoint = latest_checkpoint(weights) if weights is not None else None
    if checkpoint is None or checkpoint.accountant is None:
        return None
    releases: Sequence[Sequence[float]] = checkpoint.accountant["releases"]
    spent = [SampledGaussian(float(n), float(q), int(steps)) for n, q, steps in releases]
    delta = recipe.privacy.delta
    return {"epsilon": epsilon_of(spent, delta), "delta": delta, "unit": "person", "rounds": checkpoint.round}
