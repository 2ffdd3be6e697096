"""A server's home with one finished round, for tests of what is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from live_home import make_home

from server.accounting import accountant_for
from server.app import plan_for
from server.checkpoints import Checkpoint, save_checkpoint
from server.live.home import ServerHome
from shared_models.config import Recipe


def finished_home(
    folder: Path, recipe: Recipe, population: int = 8, weights: torch.Tensor | None = None, **changes: Any
) -> ServerHome:
    """A home whose federation has done all of its rounds; ``changes`` are fields of the checkpoint."""
    home = make_home(folder, recipe, population)
    plan = plan_for(recipe, home.checkpoints, "test", population)
    accountant = accountant_for(recipe, population)
    if accountant is not None:
        accountant.step(recipe.federation.rounds)
    fields: dict[str, Any] = {
        "round": recipe.federation.rounds,
        "weights": plan.initial if weights is None else weights,
        "schema": plan.partition.schema,
        "recipe": recipe.model_dump_json(),
        "optimizer": {"a moment": torch.ones(3)},
        "accountant": None if accountant is None else accountant.state(),
        "counted": {0: 1, 3: 1},
        "report": None,
    }
    save_checkpoint(home.checkpoints, Checkpoint(**(fields | changes)))
    return home
