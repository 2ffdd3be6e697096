"""Robust aggregates: right against a float64 reference, and unmoved by hostile updates that move the mean."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import select_multikrum
from round_players import CLIENTS, Behaviour, plan_of, private_recipe, recipe_of, reply, run
from torch import Tensor

from server.robust import Robust, aggregate_for, krum_choice, median, multi_krum, trimmed_mean
from shared_models.config import FederationConfig, Recipe
from shared_models.errors import FedVoiceError, RecipeError
from shared_models.seeds import generator

SIZE, HONEST, HOSTILE = 300, 9, 3
COUNT = HONEST + HOSTILE
CLIP = 0.5
ROBUST = ("median", "trimmed_mean", "multi_krum")


def honest_updates(count: int = HONEST, seed: int = 0) -> list[np.ndarray]:
    """Updates that agree on a direction and differ by as much as speakers do."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(SIZE)
    rows = [common / np.linalg.norm(common) * 0.1 + rng.standard_normal(SIZE) * 0.002 for _ in range(count)]
    return [row.astype(np.float32) for row in rows]


def sign_flipped(rows: list[np.ndarray]) -> list[np.ndarray]:
    return [-3 * np.mean(rows, axis=0).astype(np.float32) for _ in range(HOSTILE)]


def as_large_as_allowed(rows: list[np.ndarray]) -> list[np.ndarray]:
    # A hundredfold update that was then clipped to what the server lets in.
    return [-(row * 100) * np.float32(CLIP / np.linalg.norm(row * 100)) for row in rows[:HOSTILE]]


def colluding(rows: list[np.ndarray]) -> list[np.ndarray]:
    rng = np.random.default_rng(9)
    direction = rng.standard_normal(rows[0].size)
    same = (direction / np.linalg.norm(direction) * CLIP).astype(np.float32)
    return [same.copy() for _ in range(HOSTILE)]


def aggregate(rows: list[np.ndarray], **changes: Any) -> Tensor:
    config = FederationConfig(cohort=COUNT, hostile=HOSTILE, **changes)
    gathered = aggregate_for(config, rows[0].size)
    order = list(enumerate(rows))
    random.Random(3).shuffle(order)
    for partition, row in order:
        gathered.add(partition, torch.from_numpy(row))
    assert gathered.count == len(rows)
    return gathered.result()


@pytest.mark.parametrize("attack", [sign_flipped, as_large_as_allowed, colluding])
@pytest.mark.parametrize("aggregation", ROBUST)
def test_hostile_updates_move_the_mean_and_not_the_robust_aggregates(
    aggregation: str, attack: Callable[[list[np.ndarray]], list[np.ndarray]]
) -> None:
    rows = honest_updates()
    truth = torch.from_numpy(np.mean(np.stack(rows).astype(np.float64), axis=0)).float()
    attacked = rows + attack(rows)
    harm_to_mean = float((aggregate(attacked) - truth).norm())
    harm = float((aggregate(attacked, aggregation=aggregation) - truth).norm())
    assert harm_to_mean > 0.9 * float(truth.norm())
    assert harm < 0.25 * harm_to_mean
    assert harm < 0.5 * float(truth.norm())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_values_are_those_of_a_float64_reference(count: int) -> None:
    rng = np.random.default_rng(count)
    rows = [rng.standard_normal(SIZE).astype(np.float32) for _ in range(count)]
    wide = np.sort(np.stack(rows).astype(np.float64), axis=0)
    middle = (wide[(count - 1) // 2] + wide[count // 2]) / 2
    assert np.allclose(median(rows).numpy(), middle, atol=1e-7)
    for fraction, hostile in ((0.0, 0), (0.2, 0), (0.25, 1), (0.49, 0)):
        cut = min(max(int(np.ceil(fraction * count)), hostile), (count - 1) // 2)
        reference = wide[cut : count - cut].mean(axis=0)
        assert np.allclose(trimmed_mean(rows, fraction, hostile).numpy(), reference, atol=1e-7), fraction


@pytest.mark.parametrize("seed", range(5))
def test_krum_chooses_what_its_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Far from the origin, where distances in float32 would be lost.
    rows = [(100 + rng.standard_normal(SIZE) * rng.uniform(0.5, 2)).astype(np.float32) for _ in range(11)]
    wide = np.stack(rows).astype(np.float64)
    squares = ((wide[:, None] - wide[None]) ** 2).sum(-1)
    scores = [np.sort(np.delete(squares[i], i))[: 11 - 3 - 2].sum() for i in range(11)]
    for wanted in (1, 4, None):
        best = sorted(np.argsort(scores)[: wanted or 11 - 3 - 2].tolist())
        assert krum_choice(rows, 3, wanted) == best
        assert np.allclose(multi_krum(rows, 3, wanted).numpy(), wide[best].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("aggregation", ROBUST)
def test_the_order_of_arrival_changes_no_bit(aggregation: str) -> None:
    rows = honest_updates() + colluding(honest_updates())
    config = FederationConfig(cohort=COUNT, hostile=HOSTILE, aggregation=aggregation)
    results = []
    for seed in range(3):
        gathered = Robust(config, SIZE)
        order = list(enumerate(rows))
        random.Random(seed).shuffle(order)
        for partition, row in order:
            lent = torch.from_numpy(row.copy())
            gathered.add(partition, lent)
            lent.fill_(7)  # its memory is another reply's by now
        results.append(gathered.result())
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_too_few_updates_for_the_promise_are_refused() -> None:
    gathered = Robust(FederationConfig(cohort=9, hostile=3, aggregation="multi_krum"), 4)
    for partition in range(8):
        gathered.add(partition, torch.zeros(4))
    with pytest.raises(FedVoiceError, match=r"8 updates came where .*multi_krum.* needs 9 to bear 3"):
        gathered.result()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"federation__aggregation": "median", "privacy__mode": "central", "privacy__epsilon": 3.0},
         r"'median' cannot be combined with central privacy.*more than the clipping_norm"),
        ({"federation__over_sampling": 1.5, "privacy__mode": "central", "privacy__epsilon": 3.0},
         "twice the clipping_norm"),
        ({"federation__over_sampling": 1.5, "federation__sampling": "poisson"}, "no Poisson sample"),
        ({"federation__aggregation": "multi_krum", "federation__hostile": 2}, "cohort of at least 7"),
        ({"federation__aggregation": "median", "federation__hostile": 3}, "cohort of at least 7"),
    ],
    ids=str,
)  # fmt: skip
def test_what_breaks_a_promise_is_refused_by_the_recipe(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason) as error:
        recipe_of(**changes)
    assert len(str(error.value)) < 400


def common_direction(message: Message, update: Tensor, number: int) -> list[Message]:
    return [reply(message, common_vector(update, number) + 0.1 * update)]


def liar(message: Message, update: Tensor, number: int) -> list[Message]:
    return [reply(message, -20 * common_vector(update, number))]


@pytest.mark.parametrize("aggregation", ROBUST)
def test_a_recipe_with_a_robust_aggregate_bears_liars_in_a_whole_run(
    tmp_path: Path, aggregation: str
) -> None:
    def steps(recipe: Recipe, name: str, behaviours: dict[int, Behaviour]) -> Tensor:
        plan = plan_of(recipe, tmp_path / name)
        return run(plan, behaviours)[0] - plan.initial

    plain = {"federation__rounds": 2}
    robust = plain | {"federation__aggregation": aggregation, "federation__hostile": 1}
    everybody: dict[int, Behaviour] = dict.fromkeys(range(CLIENTS), common_direction)
    one_liar = everybody | {3: liar}
    truth = steps(recipe_of(**plain), "truth", everybody)
    assert (steps(recipe_of(**plain), "mean", one_liar) - truth).norm() > truth.norm()
    assert (steps(recipe_of(**robust), "robust", one_liar) - truth).norm() < 0.2 * truth.norm()


def common_vector(update: Tensor, number: int) -> Tensor:
    common = torch.randn(update.numel(), generator=generator("all", number))
    return common / common.norm()


def test_private_recipes_keep_the_exact_sum() -> None:
    assert private_recipe().federation.aggregation == "mean"


def test_flowers_own_functions_are_still_what_is_assumed() -> None:
    values = np.arange(10.0)[:, None] * np.ones(3)
    assert np.allclose(trim_mean(values, 0.1), 4.5)
    contents = [
        RecordDict({"p": ArrayRecord({"p": Array(np.array([x]))})}) for x in (0.0, 0.1, 0.2, 0.3, 9.0)
    ]
    chosen = select_multikrum(contents, 1, 2)
    assert all(any(one is content for content in contents) for one in chosen)
    assert len(chosen) == 2
    assert contents[4] not in chosen
