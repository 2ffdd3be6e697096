"""Training that makes a deployed model good again: short, central, on speech that is nobody's secret."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from shared_models.base_model import BaseModel, load_base, write_base
from shared_models.config import Recipe
from simulations.corpora import find_corpus
from simulations.preparation import Prepared, prepare

STEPS_A_ROUND = 50
LEAST_EACH = 5
"""Utterances of a speaker below which there is little to tell the voice by."""
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
    utterances: int | None = None
    """At most so many of each speaker; as many as the corpus's settings say if None. See :func:`limited`."""
    speakers: int | None = None
    """At most so many, where ``utterances`` is given."""
    batch_size: int | None = None
    """Utterances a step; the base recipe's if None."""
    cache: Path | None = None
    """Where features are kept; the user's cache folder if None."""
    device: str = "auto"
    """Where to train."""


def tuning_recipe(recipe: Recipe, tuning: Tuning, model: Mapping[str, Any] | None = None) -> Recipe:
    """``recipe`` as central training of ``tuning.steps`` steps, with the dotted changes ``model`` of its model."""
    # A recipe without any is none; who only wants its corpus asks for 0.
    steps = max(1, tuning.steps)
    a_round = min(steps, STEPS_A_ROUND)
    changes: dict[str, Any] = {
        "arms": {},
        "federation.algorithm": "centralised",
        "federation.rounds": math.ceil(steps / a_round),
        "federation.cohort": 1,
        "client.outer_steps": a_round,
        "client.outer_lr": tuning.lr,
        "engine.device": tuning.device,
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
    if tuning.utterances is not None:
        # Nobody is judged here, but a corpus without a single unseen speaker is refused where it has some.
        limits = {"utterances": tuning.utterances, "speakers": tuning.speakers, "test_speakers": 1}
        changes |= {f"corpus.{name}": value for name, value in limits.items() if value is not None}
    return recipe.override(changes | dict(model or {}))


def limited(recipe: Recipe, tuning: Tuning, most: int) -> Tuning:
    """``tuning`` on about ``most`` utterances at most, equally many of each speaker; no audio is read.

    Speakers are left out where each would have fewer than :data:`LEAST_EACH`. Raises :class:`CorpusError`.
    """
    config = tuning_recipe(recipe, tuning).corpus
    _, found = find_corpus(config)
    everybody = {u.speaker_id for u in found.utterances if u.split == "train"}
    count = min(len(everybody), config.speakers or len(everybody))
    # Speakers are counted off before `only` chooses among them.
    share = sum(fnmatchcase(speaker, config.only) for speaker in everybody) / max(1, len(everybody))
    each = max(LEAST_EACH, int(most / max(1.0, share * count)))
    speakers = min(count, max(2, int(most / each / share))) if share else None
    utterances = min(each, config.utterances or each)
    return replace(tuning, utterances=utterances, speakers=speakers)


def prepare_tuning(recipe: Recipe, tuning: Tuning, progress: Progress | None = None) -> Prepared:
    """The speech to tune on. Raises :class:`CorpusError`."""
    return prepare(tuning_recipe(recipe, tuning), tuning.cache, progress)


def finished(folder: Path, recipe: Recipe, path: Path, like: BaseModel) -> BaseModel:
    """The model of a training's newest checkpoint, kept in ``path`` with ``recipe`` as a base of its own.

    Clones of it are made as those of ``like``, whose judges it has.
    """
    trained = replace(load_base(folder), judges=like.judges)
    save_base(path, trained, recipe)
    return load_base(path)


def save_base(path: Path, base: BaseModel, recipe: Recipe) -> None:
    """Write ``base`` to ``path``, to be cloned and spoken with as any base. Raises StorageError."""
    write_base(path, replace(base, recipe=recipe.keeping_voices()))
