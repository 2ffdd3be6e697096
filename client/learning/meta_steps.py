"""Meta-learning: outer steps that learn where an inner adaptation had better begin, and whom it had better meet.

An inner loop is a function of its start here, made of tensors rather than of a module that an optimizer changes in
place: so the outer gradient can go through it (second order, MAML), or take its gradients as constants (first order,
FOMAML).

Source: Finn 2017 (arXiv 1703.03400, algorithm 1, and section 5.2 for the first order).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from client.learning.material import Material, draw_batch
from client.learning.phases import (
    freeze_all_but,
    optimizer_of,
    parameters_of,
    proximal_pull,
)
from shared_models.accelerator import Accelerator
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Algorithm, Phase
from shared_models.config import Recipe
from shared_models.features import Batch
from shared_models.losses import acoustic_loss
from shared_models.optimization import descend, told
from shared_models.partition import Owner

Tensors = Mapping[str, Tensor]
"""Parameters by name, as plain tensors."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """Where an inner loop ends, as a function of where it began."""

    parameters: Tensors
    losses: list[Tensor]
    """``()`` each, before its step."""


def adapt(
    start: Tensors,
    losses: Iterable[Callable[[Tensors], Tensor]],
    rates: Mapping[str, float],
    clip: float,
    *,
    second_order: bool,
) -> Adapted:
    """Plain gradient descent from ``start``: one step for each of ``losses``, each a function of the parameters.

    Gradients are clipped to the norm ``clip`` over all parameters together. Differentiable with respect to ``start``
    and to whatever else the losses depend on: through the inner gradients if ``second_order``, and past them if not.
    """
    now, seen = dict(start), []
    for loss_of in losses:
        loss = loss_of(now)
        gradients = torch.autograd.grad(
            loss, list(now.values()), create_graph=second_order, allow_unused=True, materialize_grads=True
        )
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        share = (clip / (norm + 1e-6)).clamp(max=1.0)
        now = {
            name: value - rates[name] * share * gradient
            for (name, value), gradient in zip(now.items(), gradients, strict=True)
        }
        seen.append(loss.detach())
    return Adapted(now, seen)


def loss_on(
    batch: Batch, model: VoicePartition, recipe: Recipe, rng: torch.Generator
) -> Callable[[Tensors], Tensor]:
    """The training loss of ``batch`` as a function of the parameters that take the place of the model's own."""

    def loss(parameters: Tensors) -> Tensor:
        asked = {"window": recipe.client.window_frames, "generator": rng}
        # Attention's fused kernels have a gradient, but no gradient of it.
        autocast = Accelerator(batch.mel.device, recipe.engine.precision).autocast()
        with sdpa_kernel(SDPBackend.MATH), autocast:
            output = functional_call(model.model, dict(parameters), (batch,), asked)
        return acoustic_loss(output, batch, weights=recipe.aligner).total

    return loss


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
    the adapted ones. Personal parameters that no outer step moves end where the last adaptation ended; all others
    that the inner phase moved end where they began.
    """
    inner, outer = algorithm.inner, algorithm.outer
    assert inner is not None  # the algorithm's own check
    moved = parameters_of(outer.moves, model)
    freeze_all_but(moved, model)
    optimizer = optimizer_of(outer, model, recipe, round_number)
    pull = proximal_pull(model, recipe, round_weights)
    rates = _rates(inner, model, recipe, round_number)
    seen: dict[str, list[Tensor]] = {"inner": [], "outer": []}
    adapted = Adapted({}, [])

    def on_next_batch(phase: Phase) -> Callable[[Tensors], Tensor]:
        return loss_on(draw_batch(material.of(phase.material), recipe, rng), model, recipe, rng)

    for _ in range(outer.steps(recipe)):
        losses = (on_next_batch(inner) for _ in range(inner.steps(recipe)))
        adapted = adapt(
            _start(model, rates),
            losses,
            rates,
            recipe.client.gradient_clip,
            second_order=algorithm.order == 2,
        )
        loss = on_next_batch(outer)(adapted.parameters)
        seen["outer"].append(descend(loss, moved, optimizer, recipe.client.gradient_clip, pull=pull))
        seen["inner"] += adapted.losses
    if not outer.moves.personal:
        _keep_personal(model, adapted.parameters)
    return {loop: told(losses) for loop, losses in seen.items()}


def _named(model: VoicePartition) -> dict[str, Tensor]:
    """The trainable parameters by the names that the model's own code calls them by."""
    return dict(model.model.named_parameters())


def _rates(phase: Phase, model: VoicePartition, recipe: Recipe, round_number: int) -> dict[str, float]:
    """The learning rate of each parameter that the phase moves, by name."""
    of_owner = {
        Owner.SHARED: phase.shared_rate(recipe, round_number),
        Owner.PERSONAL: phase.personal_rate(recipe, round_number),
    }
    chosen = {id(parameter) for parameter in parameters_of(phase.moves, model)}
    owners = model.partition.owners
    return {name: of_owner[owners[name]] for name, p in _named(model).items() if id(p) in chosen}


def _start(model: VoicePartition, names: Iterable[str]) -> dict[str, Tensor]:
    """The parameters themselves where the outer loop moves them, and leaves of their own where it does not."""
    found = _named(model)
    return {n: found[n] if found[n].requires_grad else found[n].detach().requires_grad_() for n in names}


@torch.no_grad()
def _keep_personal(model: VoicePartition, adapted: Tensors) -> None:
    owners, own = model.partition.owners, _named(model)
    for name, value in adapted.items():
        if owners[name] is Owner.PERSONAL:
            own[name].copy_(value)
