"""The voice recipes, brought to one setting in which they can be compared.

A recipe keeps what it is about: sources, conditioning, what is personal, algorithm, rates, cloning. Corpus, sizes of
the acoustic model, start and budget are the same for all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_models.acoustic import build_model
from shared_models.base_model import BaseModel, load_base, packaged_base
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.partition import PartitionedModel
from shared_models.recipes import find_recipe, recipe_names

NO_PAPERS = frozenset(
    {"default", "real", "live", "one_step", "base_voice", "base_voice_federated", "compression"}
)
"""Shipped recipes that no paper's way of making a voice is named after."""
PACKAGED = "packaged"
CENTRALISED = "centralised"
PLAIN = "plain"
"""The arm of a recipe that learns to learn which differs from it in that alone: its twin, NAME_plain."""
_VALIDATION_SPEAKERS = 2
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*s")


@dataclass(frozen=True, slots=True)
class Budget:
    """What each recipe may train: gradient steps of all devices together, or seconds on this machine."""

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, text: str) -> Budget:
        """``300`` is steps, ``90s`` seconds. Raises :class:`RecipeError`."""
        if text.strip().isdecimal() and int(text) > 0:
            return cls(steps=int(text))
        found = _SECONDS.fullmatch(text.strip())
        if found is None or float(found[1]) == 0:
            raise RecipeError(
                f"--budget takes steps, as 300, or seconds, as 90s, of which there is one at least, and not '{text}'"
            )
        return cls(seconds=float(found[1]))

    def __str__(self) -> str:
        return f"{self.steps} steps" if self.steps is not None else f"{self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Common:
    """What is the same for all recipes."""

    corpus: str
    budget: Budget
    start: str = PACKAGED
    """The public base that training begins from, as ``pretraining.start`` names it."""
    train_speakers: int | None = None
    utterances: int | None = None
    """Of a train speaker, at most."""
    workers: int = 1
    device: str = "cpu"
    changes: Mapping[str, Any] | None = None
    """Fields of every recipe by dotted path."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One recipe of the matrix."""

    name: str
    recipe: Recipe
    start: str = ""
    """Hash of the base that training begins from."""
    plain: str | None = None
    """The entry that is its twin, if it has one."""

    @property
    def digest(self) -> str:
        """Of the recipe, but for where it is computed, and of the start."""
        content = [self.start, self.recipe.model_dump(mode="json", exclude={"engine"})]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def voice_recipes() -> list[str]:
    """The shipped recipes that are named after a paper's way of making a voice."""
    return [name for name in recipe_names() if name not in NO_PAPERS]


def entries(names: Sequence[str], common: Common) -> list[Entry]:
    """The recipes of ``names`` in one setting, and the twin of each that has one.

    Raises :class:`RecipeError` for a name that is none, or is given twice.
    """
    if len(set(names)) < len(names):
        raise RecipeError(f"a recipe is named twice among {', '.join(names)}: name each once")
    base = _base_of(common.start)
    found: list[Entry] = []
    twins: dict[str, Entry] = {}
    for given in names:
        name = Path(given).stem if given.endswith(".toml") else given
        shipped = find_recipe(given)
        recipe = comparable(_arm_of(shipped), common, base.recipe)
        if PLAIN not in shipped.arms:
            found.append(Entry(name, recipe, base.hash))
            continue
        plain = comparable(shipped.arm(PLAIN), common, base.recipe)
        twin = Entry(f"{name}_{PLAIN}", plain.override({"name": f"{name}_{PLAIN}"}), base.hash)
        # Several that learn to learn the same model have one twin.
        nameless = json.dumps(plain.model_dump(mode="json", exclude={"name", "description"}))
        twin = twins.setdefault(nameless, twin)
        found.append(Entry(name, recipe, base.hash, twin.name))
    return [*found, *twins.values()]


def comparable(recipe: Recipe, common: Common, start: Recipe) -> Recipe:
    """The recipe of one arm on the common corpus, with the start's acoustic model."""
    episodes: dict[str, Any] = {}
    if recipe.episodes.from_round is not None:
        # They are of pooled recordings, and the pretraining that the recipe has them in is left out here.
        episodes = {"federation.algorithm": CENTRALISED, "episodes.from_round": 1}
    return recipe.override(
        {
            "corpus": {
                "path": common.corpus, "speakers": common.train_speakers, "utterances": common.utterances,
                "test_speakers": _VALIDATION_SPEAKERS,
            },
            "model": start.model.model_dump(mode="json"),
            "pretraining": {"start": common.start},
            "evaluation.every": 1_000_000,
            **episodes,
            "engine": {"workers": common.workers, "device": common.device},
            **(common.changes or {}),
        }
    )  # fmt: skip


def steps_a_round(recipe: Recipe) -> int:
    """Gradient steps of a round's devices together, inner ones included."""
    steps = recipe.algorithm.local_steps(recipe)
    return steps if recipe.algorithm.pools_recordings else steps * recipe.federation.cohort


def started(recipe: Recipe) -> tuple[Recipe, float]:
    """The recipe with ``pretraining.fresh`` naming what its start lacks, and the share of numbers that are taken over.

    ``recipe`` is resolved: whether there is an aligner decides which weights there are.
    """
    start = recipe.pretraining.start
    assert start is not None  # comparable() names one
    shapes = {tensor.name: tensor.shape for tensor in _base_of(start).model.partition.shared}
    own = PartitionedModel(build_model(recipe)).partition.shared
    fresh = [tensor for tensor in own if shapes.get(tensor.name) != tensor.shape]
    total = sum(tensor.stop - tensor.start for tensor in own)
    new = sum(tensor.stop - tensor.start for tensor in fresh)
    names = [tensor.name for tensor in fresh]
    return recipe.override({"pretraining.fresh": names}), 1 - new / total


def _arm_of(recipe: Recipe) -> Recipe:
    """The federated arm; the first where none is called so."""
    if not recipe.arms:
        return recipe
    return recipe.arm("federated" if "federated" in recipe.arms else next(iter(recipe.arms)))


def _base_of(start: str) -> BaseModel:
    return packaged_base() if start == PACKAGED else load_base(Path(start))
