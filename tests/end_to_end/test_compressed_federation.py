"""A whole federation under each compression: nothing is dropped, and a resumed run ends the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import features_of_tests, tiny_recipe

from client.app import DEVICES_VARIABLE
from server.app import make_app, plan_for
from server.rounds import RoundReport
from simulations.engine import run_federation
from simulations.preparation import make_devices, prepare

PRIVATE = {"privacy__mode": "central", "privacy__noise_multiplier": 1e-3, "privacy__clipping_norm": 0.05}


class StopError(Exception):
    """Stands for a crash of the server."""


def run(
    folder: Path, changes: dict[str, Any], stop_in: int | None = None
) -> tuple[torch.Tensor, list[RoundReport]]:
    recipe = tiny_recipe(engine__workers=1, federation__cohort=4, **changes)
    data = prepare(recipe, features_of_tests())
    devices = make_devices(folder / "devices", data.train, data.cache)
    plan = plan_for(data.recipe, folder / "checkpoints", "run", len(data.train), seeded_noise=True)
    reports: list[RoundReport] = []
    weights = []

    def watch(report: RoundReport, after: torch.Tensor) -> None:
        reports.append(report)
        weights.append(after.clone())
        if report.round == stop_in:
            raise StopError

    run_federation(
        make_app(plan, watch), engine=data.recipe.engine, clients=plan.clients,
        environment={DEVICES_VARIABLE: str(devices)},
    )  # fmt: skip
    return weights[-1], reports


WAYS: list[dict[str, Any]] = [
    {"compression__up": "float16", "compression__down": "float16"},
    {"compression__up": "int2", "compression__down": "int8", "compression__delta": True},
    {"compression__up": "low_rank", "compression__rank": 2, "compression__down": "int4"},
    {
        "compression__up": "top_k",
        "compression__share": 0.02,
        "compression__down": "int4",
        "compression__delta": True,
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way["compression__up"])
def test_no_update_is_dropped_at_the_clip(tmp_path: Path, way: dict[str, Any]) -> None:
    """The clipping norm is so low that every update exceeds it before."""
    _, reports = run(tmp_path, {**way, **PRIVATE})
    assert [(report.clients, report.dropped) for report in reports] == [(4, {})] * 3


@pytest.mark.slow
def test_a_run_that_was_resumed_ends_with_the_same_weights(tmp_path: Path) -> None:
    """The server crashes before its checkpoint: round 2 runs again, from the remainders that round 1 left."""
    way = WAYS[-1]
    whole, _ = run(tmp_path / "whole", way)
    with pytest.raises(StopError):
        run(tmp_path / "torn", way, stop_in=2)
    resumed, reports = run(tmp_path / "torn", way)
    assert [report.round for report in reports] == [2, 3]
    assert torch.equal(resumed, whole)
