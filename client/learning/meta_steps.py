"""Meta-learning: outer steps that learn where an inner adaptation had better begin, and whom it had better meet.

Source: Finn 2017 (arXiv 1703.03400, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from client.learning.inner_loop import Adapted, LossOf, Pace, adapt, keep, loss_on
from client.learning.material import Material, draw_batch
from client.learning.phases import freeze_all_but, optimizer_of, parameters_of, proximal_pull
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Algorithm, Phase
from shared_models.config import Recipe
from shared_models.optimization import descend, told
from shared_models.partition import Owner


def meta_steps(
    algorithm: Algorithm,
    model: VoicePartition,
    material: Material,
    recipe: Recipe,
    rng: torch.Generator,
    *,
    round_number: int,
    round_weights: Tensor,
) -> dict[str, list[float]]:
    """The outer steps of an algorithm of order 1 or 2 in one round; the losses of both loops.

    Every outer step adapts anew from the parameters as they are, and moves the outer phase's down the query's loss at
    the adapted ones. Where the personal set adapts alone and no outer step moves it, it ends where the last adaptation
    ended; all else that the inner phase moved ends where it began.
    """
    inner, outer = algorithm.inner, algorithm.outer
    assert inner is not None  # the algorithm's own check
    moved = parameters_of(outer, model)
    freeze_all_but(moved, model)
    optimizer = optimizer_of(outer, model, recipe, round_number)
    pull = proximal_pull(model, recipe, round_weights)
    seen: dict[str, list[Tensor]] = {"inner": [], "outer": []}
    adapted = Adapted({}, [])
    for _ in range(outer.steps(recipe)):
        loss, adapted = task_loss(algorithm, model, material, recipe, rng, round_number)
        seen["outer"].append(descend(loss, moved, optimizer, recipe.client.gradient_clip, pull=pull))
        seen["inner"] += adapted.losses
    if not (outer.moves.personal or inner.moves.shared):
        keep(model, _personal(model, adapted))
    return {loop: told(losses) for loop, losses in seen.items()}


def task_loss(
    algorithm: Algorithm,
    model: VoicePartition,
    material: Material,
    recipe: Recipe,
    rng: torch.Generator,
    round_number: int,
) -> tuple[Tensor, Adapted]:
    """The loss ``()`` of the outer loop for one speaker, and where the inner loop ended."""
    inner, outer = algorithm.inner, algorithm.outer
    assert inner is not None  # the algorithm's own check
    pace = Pace.of(inner, model, recipe, round_number)
    losses = _inner_losses(inner, model, material, recipe, rng)
    adapted = adapt(_start(model, pace.rates), losses, pace, second_order=algorithm.order == 2)
    batch = draw_batch(material.of(outer.material), recipe, rng)
    return loss_on(batch, model, recipe, rng, heard=True)(adapted.parameters), adapted


def _inner_losses(
    inner: Phase, model: VoicePartition, material: Material, recipe: Recipe, rng: torch.Generator
) -> Iterator[LossOf]:
    """One for each inner step, drawn when it comes; the same batch every time where the phase says so."""
    steps = inner.steps(recipe)
    same = _on_next_batch(inner, model, material, recipe, rng) if inner.same_batch and steps else None
    for _ in range(steps):
        yield same or _on_next_batch(inner, model, material, recipe, rng)


def _on_next_batch(
    phase: Phase, model: VoicePartition, material: Material, recipe: Recipe, rng: torch.Generator
) -> LossOf:
    return loss_on(draw_batch(material.of(phase.material), recipe, rng), model, recipe, rng)


def _start(model: VoicePartition, names: Iterable[str]) -> dict[str, Tensor]:
    """The parameters themselves where the outer loop moves them, and leaves of their own where it does not."""
    found = dict(model.model.named_parameters())
    return {n: found[n] if found[n].requires_grad else found[n].detach().requires_grad_() for n in names}


def _personal(model: VoicePartition, adapted: Adapted) -> dict[str, Tensor]:
    owners = model.partition.owners
    return {name: value for name, value in adapted.parameters.items() if owners[name] is Owner.PERSONAL}
