"""Training that makes a deployed model good again: short, central, on speech that is nobody's secret."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from client.base_model import BaseModel, load_base
from shared_models.config import Recipe
from shared_models.errors import CheckpointError
from shared_models.files import write_atomically
from shared_models.partition import PartitionedModel
from simulations.preparation import Prepared, prepare

STEPS_A_ROUND = 50
Progress = Callable[[int, int], None]
Stage = Callable[[str], Progress]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How much is trained, and on what."""

    steps: int = 2000
    corpus: str | None = None
    """A folder, a CSV or 'embedded'; the base recipe's own corpus if None."""
    only: str = "*"
    """Train speakers whose id matches. Only asked of a corpus that is named."""
    lr: float = 1e-3
    batch_size: int | None = None
    """Utterances a step; the base recipe's if None."""
    cache: Path | None = None
    """Where features are kept; the user's cache folder if None."""


def tuning_recipe(recipe: Recipe, tuning: Tuning, model: Mapping[str, Any] | None = None) -> Recipe:
    """``recipe`` as central training of ``tuning.steps`` steps, with the dotted changes ``model`` of its model."""
    a_round = min(tuning.steps, STEPS_A_ROUND)
    changes: dict[str, Any] = {
        "arms": {},
        "federation.algorithm": "centralised",
        "federation.rounds": math.ceil(tuning.steps / a_round),
        "federation.cohort": 1,
        "client.outer_steps": a_round,
        "client.outer_lr": tuning.lr,
        "aligner.warmup_rounds": 0,
        "privacy": {},
        "personal_privacy": {},
        "pretraining": {},
    }
    if tuning.batch_size is not None:
        changes["client.batch_size"] = tuning.batch_size
    if tuning.corpus is not None:
        path = tuning.corpus if tuning.corpus == "embedded" else str(Path(tuning.corpus).resolve())
        lengths = recipe.corpus.model_dump(include={"min_seconds", "max_seconds"})
        changes["corpus"] = {"path": path, "only": tuning.only, **lengths}
    return recipe.override(changes | dict(model or {}))


def prepare_tuning(recipe: Recipe, tuning: Tuning, progress: Progress | None = None) -> Prepared:
    """The speech to tune on. Raises :class:`CorpusError`."""
    return prepare(tuning_recipe(recipe, tuning), tuning.cache, progress)


def claim(folder: Path, what: Mapping[str, Any]) -> None:
    """Say in ``folder`` whose training it holds; what is there goes on only if it is the same.

    Raises :class:`CheckpointError` if it holds another training.
    """
    path, content = folder / "training.json", json.dumps(what, indent=1, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != content:
        raise CheckpointError(
            f"{folder} holds a training of another base, with other settings or on another corpus: remove it, or "
            "name another output"
        )
    write_atomically(path, content)


def finished(folder: Path, recipe: Recipe, path: Path) -> BaseModel:
    """The model of a training's newest checkpoint, kept in ``path`` with ``recipe`` as a base of its own."""
    trained = load_base(folder)
    save_base(path, trained, recipe)
    return load_base(path)


def save_base(path: Path, base: BaseModel, recipe: Recipe) -> None:
    """Write ``base`` to ``path``, to be cloned and spoken with as any base. Raises StorageError."""
    federated = "fedrep" if recipe.federation.algorithm == "full" else recipe.federation.algorithm
    kept = recipe.override({"federation.algorithm": federated})
    model = PartitionedModel(base.model.model)
    header = {"recipe": kept.model_dump_json(), "schema": model.partition.schema}
    write_atomically(path, save({"weights": model.shared_vector()}, header))
