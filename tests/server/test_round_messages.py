"""What a round's messages say of the operator: the recipe without the folders that it names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from flwr.supercore.task_identity import TaskIdentity
from tiny_federation import tiny_recipe

from server.app import plan_for
from server.attempts import Attempt
from server.downlink import Downlink
from server.round_messages import train_messages
from shared_models.config import PATHS, recipe_from_json


def test_no_message_names_a_folder_of_the_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    # A frozen base must be there when a plan is made of it, so that its folder is named afterwards.
    sharing = {"model.style_rank": 2}
    plan = plan_for(tiny_recipe().override(sharing), tmp_path, "run", 2)
    recipe = tiny_recipe().override(sharing | {path: f"/srv/operators-own/{path}" for path in PATHS})
    plan = dataclasses.replace(plan, recipe=recipe)
    downlink = Downlink(recipe.compression, plan.partition, plan.initial)
    messages = train_messages(
        plan, downlink, plan.initial, Attempt("run", 1, 1, (0, 1)), {0: 5, 1: 6}, {1: 3}
    )
    assert [message.content["header"]["seen"] for message in messages] == [-1, 3]
    for message in messages:
        told = message.content["header"]["recipe"]
        assert "operators-own" not in told
        # Nothing else is changed: seeds, steps and privacy are the plan's.
        assert recipe_from_json(told) == recipe.override({path: path for path in PATHS})
