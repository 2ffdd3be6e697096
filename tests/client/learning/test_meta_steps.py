"""Gradients through an inner loop: against closed forms, against finite differences, and in whole rounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from algorithm_of_a_test import SECOND_ORDER
from tiny_federation import (
    features_of_tests,
    in_float64,
    personal_copy,
    random_speech,
    same,
    shaken,
    small_corpus,
    task_of,
    tiny_model,
    tiny_recipe,
)
from torch import Tensor

from client.app import DEVICES_VARIABLE
from client.learning.inner_loop import Pace, Tensors, adapt, loss_on
from client.learning.local_round import local_round
from client.learning.material import Material
from client.learning.meta_steps import meta_steps
from server.app import make_app, plan_for
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Algorithm, Moves
from shared_models.config import Recipe
from shared_models.features import collate
from shared_models.seeds import generator
from simulations.engine import run_federation
from simulations.preparation import make_devices, prepare

PLAIN: dict[str, Any] = {"aligner__learn": "never", "model__dropout": 0.0, "client__window_frames": None}
NAME = "second_order_of_a_test"
UNCLIPPED = 1e12


def quadratic(curvature: float, centre: float) -> Any:
    return lambda parameters: 0.5 * curvature * (parameters["w"] - centre).square().sum()


@pytest.mark.parametrize("second_order", [True, False])
def test_the_gradient_through_two_steps_down_parabolas_is_the_closed_form(second_order: bool) -> None:
    start = torch.tensor([1.5, -2.0], dtype=torch.float64, requires_grad=True)
    rate, first, second, query = 0.3, (2.0, 0.5), (0.7, -1.0), (1.3, 4.0)
    found = adapt(
        {"w": start},
        [quadratic(*first), quadratic(*second)],
        Pace({"w": rate}, UNCLIPPED),
        second_order=second_order,
    )
    once = start.detach() - rate * first[0] * (start.detach() - first[1])
    twice = once - rate * second[0] * (once - second[1])
    torch.testing.assert_close(found.parameters["w"].detach(), twice)
    assert [loss.item() for loss in found.losses] == pytest.approx(
        [quadratic(*first)({"w": start}).item(), quadratic(*second)({"w": once}).item()]
    )
    quadratic(*query)(found.parameters).backward()
    at_the_end = query[0] * (twice - query[1])
    through = (1 - rate * first[0]) * (1 - rate * second[0]) if second_order else 1.0
    assert start.grad is not None
    torch.testing.assert_close(start.grad, at_the_end * through)


def test_an_inner_step_is_clipped_over_all_parameters_together() -> None:
    start = {name: torch.zeros(1, dtype=torch.float64, requires_grad=True) for name in ("a", "b")}

    def slope(parameters: Tensors) -> Tensor:
        return (3.0 * parameters["a"] + 4.0 * parameters["b"]).sum()

    found = adapt(start, [slope], Pace({"a": 0.5, "b": 0.1}, 1.0), second_order=True)
    assert found.parameters["a"].item() == pytest.approx(-0.5 * 0.6)
    assert found.parameters["b"].item() == pytest.approx(-0.1 * 0.8)


class OuterLoss:
    """The loss on one batch after two inner steps on others, of a real model in float64."""

    def __init__(self, model: VoicePartition, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        speech = [random_speech(2, seed=seed) for seed in (1, 2, 3)]
        self.batches = [in_float64(collate(items, [item.reference for item in items])) for items in speech]

    def __call__(self, *, second_order: bool) -> Tensor:
        *support, query = (loss_on(b, self.model, self.recipe, generator(1)) for b in self.batches)
        voices = {n: p for n, p in self.model.model.named_parameters() if n.startswith("voices.")}
        start = {name: value.detach().requires_grad_() for name, value in voices.items()}
        pace = Pace(dict.fromkeys(start, 0.5), 1.0)
        return query(adapt(start, support, pace, second_order=second_order).parameters)


def test_the_outer_gradient_of_a_real_model_is_that_of_finite_differences() -> None:
    recipe = tiny_recipe(**PLAIN)
    model = shaken(tiny_model(recipe))
    model.model.double()
    loss = OuterLoss(model, recipe)
    shared = model.shared_parameters()

    def slope(direction: list[Tensor], second_order: bool) -> float:
        found = torch.autograd.grad(
            loss(second_order=second_order), shared, allow_unused=True, materialize_grads=True
        )
        return sum(float((g * d).sum()) for g, d in zip(found, direction, strict=True))

    @torch.no_grad()
    def step(direction: list[Tensor], size: float) -> None:
        for parameter, d in zip(shared, direction, strict=True):
            parameter.add_(d, alpha=size)

    rng, missed = torch.Generator().manual_seed(4), []
    for _ in range(3):
        direction = [torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in shared]
        values = []
        # Small enough that no rectifier switches in between, which a slope would not tell of.
        for size in (3e-8, -6e-8):
            step(direction, size)
            values.append(loss(second_order=False).item())
        step(direction, 3e-8)
        measured = (values[0] - values[1]) / 6e-8
        assert slope(direction, True) == pytest.approx(measured, rel=1e-5)
        missed.append(abs(slope(direction, False) / measured - 1))
    assert max(missed) > 0.1, "without the term of second order a slope is another"


def a_round(kind: Algorithm, **changes: Any) -> tuple[VoicePartition, VoicePartition, dict[str, list[float]]]:
    """The model before and after one round's steps, and their losses."""
    recipe = tiny_recipe(client__inner_steps=2, client__outer_steps=3, **changes)
    before, model = shaken(tiny_model(recipe)), shaken(tiny_model(recipe))
    material = Material.split(random_speech(6, aligned=recipe.aligner.learn == "never"), 0.5)
    losses = meta_steps(
        kind, model, material, recipe, generator(1), round_number=1, round_weights=model.shared_vector()
    )
    return before, model, losses


def test_what_adapts_stays_adapted_on_the_device_and_the_shared_set_moves() -> None:
    before, after, losses = a_round(SECOND_ORDER, **PLAIN)
    assert (len(losses["inner"]), len(losses["outer"])) == (6, 3)
    moved, start = personal_copy(after), personal_copy(before)
    assert all(not torch.equal(moved[name], start[name]) for name in start)
    assert not torch.equal(after.shared_vector(), before.shared_vector())


@pytest.mark.parametrize("order", [1, 2])
def test_where_both_sets_adapt_only_the_outer_steps_stay(order: Any) -> None:
    inner, outer = SECOND_ORDER.inner, SECOND_ORDER.outer
    assert inner is not None
    everything = replace(inner, moves=Moves.BOTH, shared_rate=inner.personal_rate)
    maml = replace(SECOND_ORDER, inner=everything, outer=replace(outer, moves=Moves.BOTH), order=order)
    recipe = {"client__outer_optimizer": "sgd", "client__outer_lr": 1e-3, "client__inner_lr": 1e-3}
    before, after, _ = a_round(maml, **PLAIN, **recipe)
    distance = (after.shared_vector() - before.shared_vector()).norm()
    # Three outer steps of a gradient of at most the recipe's clip; an inner loop that stayed would go farther.
    assert 0 < distance <= 3 * 1e-3 * 1.001


def test_the_first_order_is_a_gradient_at_the_adapted_voice() -> None:
    _, first, _ = a_round(replace(SECOND_ORDER, order=1), **PLAIN)
    _, second, _ = a_round(SECOND_ORDER, **PLAIN)
    difference = first.shared_vector() - second.shared_vector()
    assert difference.any(), "the orders differ"
    assert same(personal_copy(first), personal_copy(second)) is False


def test_a_voice_adapts_by_the_second_order_where_an_aligner_learns_too() -> None:
    before, after, losses = a_round(SECOND_ORDER, aligner__learn="always")
    moved = after.shared_vector() - before.shared_vector()
    assert all(torch.isfinite(torch.tensor(losses["outer"])))
    aligner = [t for t in after.partition.shared if t.name.startswith("aligner.")]
    assert all(moved[t.start : t.stop].any() for t in aligner)


def test_a_round_by_it_is_repeated_bit_for_bit() -> None:
    recipe = tiny_recipe(federation__algorithm=NAME, client__inner_steps=2, aligner__learn="never")
    material = Material.split(random_speech(6), 0.5)
    updates = []
    for _ in range(2):
        model = tiny_model(recipe)
        updates.append(local_round(model, model.shared_vector(), material, task_of(recipe)).update.vector)
    assert torch.equal(*updates)
    assert updates[0].any()


def test_it_federates_in_the_engines_worker_processes(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path / "corpus", train=2, test=1, utterances=4)
    recipe = tiny_recipe(
        federation__algorithm=NAME, federation__rounds=2, federation__cohort=2, corpus__path=str(corpus),
        client__outer_steps=1, federation__server_optimizer="fedavg", federation__server_lr=1.0,
    )  # fmt: skip
    data = prepare(recipe, features_of_tests())
    devices = make_devices(tmp_path / "devices", data.train, data.cache)
    plan = plan_for(data.recipe, tmp_path / "checkpoints", "run", 2, seeded_noise=True)
    reports, final = [], []
    run_federation(
        make_app(plan, lambda report, weights: (reports.append(report), final.append(weights.clone()))),
        "algorithm_of_a_test:app", engine=recipe.engine, clients=2, environment={DEVICES_VARIABLE: str(devices)},
    )  # fmt: skip
    assert [(report.round, report.clients, report.dropped) for report in reports] == [(1, 2, {}), (2, 2, {})]
    assert not torch.equal(final[0], final[1])
    assert not torch.equal(final[0], plan.initial)
