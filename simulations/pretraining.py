"""Public pretraining: the weights that a federation starts from, which know pronunciation from public speech.

They are trained centrally on public speech, by default the packaged synthetic voices. This costs no privacy. Most of
a private federation's quality comes from it: each round costs privacy, and a model that can already speak needs fewer
rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from shared_models.acoustic import build_model
from shared_models.base_model import load_base, packaged_base, weights_from
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.partition import PartitionedModel
from simulations.centralised import train_centralised
from simulations.corpora import open_corpus
from simulations.preparation import prepare

STEPS_A_ROUND = 50


def pretraining_recipe(recipe: Recipe) -> Recipe:
    """The recipe of a run's pretraining: the same model, on public speech, in rounds of 50 steps."""
    public = recipe.pretraining
    return recipe.override(
        {
            "name": f"{recipe.name}-pretraining",
            "arms": {},
            "corpus": {"path": public.corpus, "only": public.only},
            "federation.algorithm": "centralised",
            "federation.rounds": math.ceil(public.steps / STEPS_A_ROUND),
            "federation.cohort": 1,
            "aligner.warmup_rounds": math.ceil(public.aligner_steps / STEPS_A_ROUND),
            "client.outer_steps": STEPS_A_ROUND,
            "client.outer_lr": public.lr,
            "client.batch_size": public.batch_size,
            "privacy": {},
            "pretraining": {},
        }
    )


def refuse_public_clients(recipe: Recipe) -> None:
    """Raise :class:`RecipeError` if a speaker of the pretraining is a client too."""
    if recipe.pretraining.steps == 0:
        return
    public = open_corpus(pretraining_recipe(recipe).corpus).speakers("train")
    clients = open_corpus(recipe.corpus).speakers("train")
    own, theirs = recipe.corpus.only, recipe.pretraining.only
    both = sorted(s for s in public.keys() & clients.keys() if fnmatchcase(s, own) and fnmatchcase(s, theirs))
    if both:
        raise RecipeError(
            f"speaker {both[0]} is both public (pretraining) and a client: keep them apart with pretraining.only and "
            "corpus.only"
        )


def pretrain(
    recipe: Recipe,
    folder: Path,
    cache: Path,
    stage: Callable[[str], Callable[[int, int], None]],
    on_round: Callable[[dict[str, Any]], None],
) -> Tensor | None:
    """The shared weights ``(D,)`` that every arm of ``recipe`` starts from; None if it asks for none.

    ``recipe`` must be resolved: whether there is an aligner decides which weights there are. Raises as
    :func:`starting_weights` does.
    """
    last = math.ceil(recipe.pretraining.steps / STEPS_A_ROUND)
    done = latest_checkpoint(folder)
    # A run that goes on needs no base any more, which may have moved or been made anew since.
    if done is not None and done.round == last:
        return done.weights
    first = starting_weights(recipe) if done is None else None
    if recipe.pretraining.steps == 0:
        if first is not None:
            _keep(recipe, first, folder)
        return first
    own = pretraining_recipe(recipe)
    data = prepare(own, cache, stage("features of the public corpus"))

    def tell(number: int, loss: float, update_norm: float, _: Tensor) -> None:
        on_round({"round": number, "train_loss": loss, "update_norm": update_norm})

    return train_centralised(own, data, folder, tell, first)


def starting_weights(recipe: Recipe) -> Tensor | None:
    """The shared weights ``(D,)`` of the recipe's model as ``pretraining.start`` has them; None without it.

    What the base has beyond them, as an aligner that the recipe does without, is left, and those that
    ``pretraining.fresh`` names begin as without a base. Raises :class:`RecipeError` for a base that lacks another, and
    :class:`CheckpointError` for one that cannot be read.
    """
    start = recipe.pretraining.start
    if start is None:
        return None
    base = (packaged_base() if start == "packaged" else load_base(Path(start))).model
    model = PartitionedModel(build_model(recipe))
    return weights_from(base, model, f"pretraining.start {start!r}", own=recipe.pretraining.fresh)


def _keep(recipe: Recipe, weights: Tensor, folder: Path) -> None:
    """Where a device that trains alone finds what it starts from."""
    schema = PartitionedModel(build_model(recipe)).partition.schema
    save_checkpoint(folder, Checkpoint(0, weights, schema, recipe.model_dump_json()))
