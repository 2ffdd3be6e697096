"""The draws of a client's task: each its own, repeated in a simulation and never foretold on a real device."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_federation import task_of, tiny_recipe

from client.task import Task
from shared_models.seeds import derive_seed


def test_a_draw_depends_on_recipe_round_member_and_purpose_alone() -> None:
    task = task_of(tiny_recipe(seed=7), 3, 5)
    assert task.seed("dropout") == derive_seed(7, "dropout", 3, 5)
    assert replace(task, run="another", simulated=False).seed("dropout") == task.seed("dropout")
    others = [
        task.seed("local"),
        replace(task, round=4).seed("dropout"),
        replace(task, member=6).seed("dropout"),
        replace(task, recipe=tiny_recipe(seed=8)).seed("dropout"),
    ]
    assert len({task.seed("dropout"), *others}) == 5
    assert torch.equal(
        torch.rand(3, generator=task.generator("local")),
        torch.rand(3, generator=torch.Generator().manual_seed(task.seed("local"))),
    )


def test_what_privacy_depends_on_is_the_recipes_in_a_simulation_alone() -> None:
    simulated = task_of(tiny_recipe(), 3, 5)
    live: Task = replace(simulated, simulated=False)
    rng = torch.Generator()
    assert simulated.private(rng) is rng
    assert simulated.private_seed("rounding") == simulated.seed("rounding")
    assert live.private(rng) is None
    assert live.private_seed("rounding") is None
