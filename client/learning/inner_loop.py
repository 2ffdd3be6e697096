"""An inner loop: plain gradient descent as a function of its start, made of tensors.

An optimizer changes a module in place, and nothing can be differentiated through that. Here the outer gradient can go
through the steps (second order, MAML), or take their gradients as constants (first order, FOMAML). Cloning can go by
the same steps, so that a newcomer adapts as meta-learning expects.

Sources: Finn 2017 (arXiv 1703.03400, algorithm 1, and section 5.2 for the first order); rates of each number, Li 2017,
"Meta-SGD" (arXiv 1707.09835, eq. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from client.learning.material import draw_batch, on_device
from client.learning.phases import freeze_all_but, loss_of_output, parameters_of
from shared_models.accelerator import Accelerator
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Phase
from shared_models.config import Recipe
from shared_models.features import Batch, Features
from shared_models.optimization import told
from shared_models.partition import Owner

Tensors = Mapping[str, Tensor]
"""Parameters by name, as plain tensors."""
LossOf = Callable[[Tensors], Tensor]
"""A loss ``()`` as a function of parameters."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """Where an inner loop ends, as a function of where it began."""

    parameters: Tensors
    losses: list[Tensor]
    """``()`` each, before its step."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How far an inner step goes down a gradient."""

    rates: Mapping[str, float]
    """Learning rate by name, of every parameter that moves."""
    clip: float
    """Largest norm of the gradient, over all parameters together and after what is learnt multiplied it."""
    learned: Tensors = field(default_factory=dict)
    """What the gradient is multiplied by, by name, where that is learnt, spread over it."""
    units: Mapping[str, float] = field(default_factory=dict)
    """By name, where it is not 1: what is kept over it is what acts, and the gradient is that of what acts."""

    @classmethod
    def of(cls, phase: Phase, model: VoicePartition, recipe: Recipe, round_number: int) -> Pace:
        """That of a phase under a recipe, with the rates that the model has learnt."""
        of_owner = {
            Owner.SHARED: phase.shared_rate(recipe, round_number),
            Owner.PERSONAL: phase.personal_rate(recipe, round_number),
        }
        chosen = {id(parameter) for parameter in parameters_of(phase, model)}
        owners = model.partition.owners
        rates = {n: of_owner[owners[n]] for n, p in model.model.named_parameters() if id(p) in chosen}
        units = {_row(name): kept.unit for name, kept in model.model.voices.keeps.items() if kept.unit != 1}
        learned = model.model.learned_rates() if model.model.learned_rates is not None else {}
        rows = {_row(name): factor.reshape(1, -1) for name, factor in learned.items()}
        return cls(rates, recipe.client.gradient_clip, rows, units)

    def step(self, now: Tensors, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """One step from ``now`` down ``gradients``, one for each of its parameters."""
        scaled = [self._scaled(name, gradient) for name, gradient in zip(now, gradients, strict=True)]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in scaled]))
        share = (self.clip / (norm + 1e-6)).clamp(max=1.0)
        return {
            name: value - self.rates[name] * self.units.get(name, 1.0) * share * gradient
            for (name, value), gradient in zip(now.items(), scaled, strict=True)
        }

    def _scaled(self, name: str, gradient: Tensor) -> Tensor:
        gradient = gradient * self.units[name] if name in self.units else gradient
        return gradient * self.learned[name] if name in self.learned else gradient


def _row(name: str) -> str:
    """The table of a voice's tensor, as the model calls it: a row ``(1, ...)`` on a device."""
    return f"voices.{name}.weight"


def adapt(start: Tensors, losses: Iterable[LossOf], pace: Pace, *, second_order: bool) -> Adapted:
    """Plain gradient descent from ``start``: one step for each of ``losses``.

    Differentiable with respect to ``start``, to what is learnt of the pace and to whatever else the losses depend on:
    through the inner gradients if ``second_order``, and past them if not.
    """
    now, seen = dict(start), []
    for loss_of in losses:
        loss = loss_of(now)
        gradients = torch.autograd.grad(
            loss, list(now.values()), create_graph=second_order, allow_unused=True, materialize_grads=True
        )
        now = pace.step(now, gradients)
        seen.append(loss.detach())
    return Adapted(now, seen)


def loss_on(
    batch: Batch, model: VoicePartition, recipe: Recipe, rng: torch.Generator, *, heard: bool = False
) -> LossOf:
    """The training loss of ``batch`` as a function of the parameters that take the place of the model's own.

    ``heard`` adds what the recipe's judge says (:func:`~client.learning.phases.loss_of_output`).
    """

    def loss(parameters: Tensors) -> Tensor:
        asked = {"window": recipe.client.window_frames, "generator": rng}
        # Attention's fused kernels have a gradient, but no gradient of it.
        autocast = Accelerator(batch.mel.device, recipe.engine.precision).autocast()
        with sdpa_kernel(SDPBackend.MATH), autocast:
            output = functional_call(model.model, dict(parameters), (batch,), asked)
        return loss_of_output(output, batch, recipe, heard=heard)

    return loss


def take_inner_steps(
    phase: Phase,
    model: VoicePartition,
    utterances: Sequence[Features],
    recipe: Recipe,
    rng: torch.Generator,
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Take a phase's steps as an inner loop takes them, and keep where they end; the losses."""
    moved = parameters_of(phase, model)
    if not moved:
        return []
    freeze_all_but(moved, model)
    utterances, steps = on_device(utterances, model.device), phase.steps(recipe)
    pace = Pace.of(phase, model, recipe, 0)
    own = dict(model.model.named_parameters())
    losses: list[Tensor] = []
    for step in range(steps):
        loss = loss_on(draw_batch(utterances, recipe, rng), model, recipe, rng)
        adapted = adapt({name: own[name] for name in pace.rates}, [loss], pace, second_order=False)
        keep(model, adapted.parameters)
        losses += adapted.losses
        if on_step is not None:
            on_step(step + 1, steps)
    return told(losses)


@torch.no_grad()
def keep(model: VoicePartition, adapted: Tensors) -> None:
    """Let the model go on from ``adapted`` parameters."""
    own = dict(model.model.named_parameters())
    for name, value in adapted.items():
        own[name].copy_(value)
