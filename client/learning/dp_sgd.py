"""DP-SGD on the personal set: what a voice's parameters tell about any one utterance is bounded.

Source: Abadi 2016 (arXiv 1607.00133, Algorithm 1): Poisson-sampled utterances, each gradient clipped on its
own, Gaussian noise on their sum, divided by the expected batch. Per-utterance gradients and clipping are
Opacus's; sampling, noise and accounting are here, so that the accountant's assumptions are what is done.

The unit is an utterance of this device's own recordings. Each one's gradient is computed alone, in a forward and
a backward pass of its own: no padding, no batch statistic, no kernel that depends on a batch's shape and no
random number can carry anything from one utterance to another's gradient. What remains for the loss is to be a
function of its utterance and of the weights: the rest of the model is frozen and drops nothing out.

How many utterances there are sets the sampling probability and the noise. The neighbours of the guarantee hold
the same number, one of them emptied; the number itself is told to nobody.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from shared_models.accelerator import CPU, exact_dtype, on_host
from shared_models.accounting import SampledGaussian
from shared_models.errors import PrivacyError
from shared_models.noise import standard_normal, uniform


@dataclass(frozen=True, slots=True)
class PersonalDP:
    """The settings of one private training."""

    noise_multiplier: float
    clipping_norm: float
    """C: adding or removing one utterance moves a step's summed gradient by at most this much.

    Up to the rounding of a float32 sum, which is below C / 100,000.
    """
    utterances: int
    """How many there are to train on."""
    expected_batch: float
    """Sampling probability times utterances: the fixed denominator of every step."""
    steps: int

    def __post_init__(self) -> None:
        if self.utterances < 1:
            raise PrivacyError("private personal training needs at least one utterance")
        if not 0 < self.expected_batch <= self.utterances:
            raise PrivacyError(
                f"an expected batch of {self.expected_batch:g} cannot be drawn from {self.utterances} "
                "utterances: lower client.batch_size"
            )
        if not self.clipping_norm > 0:
            raise PrivacyError(f"the clipping norm must be above 0, and is {self.clipping_norm}")
        _ = self.cost

    @property
    def sampling_probability(self) -> float:
        """The chance of each utterance to be in a step, by its own coin."""
        return self.expected_batch / self.utterances

    @property
    def cost(self) -> SampledGaussian:
        """What the training spends, whether or not it is finished."""
        return SampledGaussian(self.noise_multiplier, self.sampling_probability, self.steps)


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimizer with our noise, which in a live run comes from the operating system."""

    def add_noise(self) -> None:
        """Add N(0, (sigma C)^2) to each coordinate of the clipped sum, in float64."""
        for parameter in self.params:
            total = parameter.summed_grad
            noise = standard_normal(total.numel(), self.generator).mul_(
                self.noise_multiplier * self.max_grad_norm
            )
            where = total.device if exact_dtype(total.device) is noise.dtype else CPU
            noised = noise.view_as(total).to(where).add_(total.to(where))
            parameter.grad = noised.to(parameter.dtype).to(parameter.device).view_as(parameter)


def make_private(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    noise_multiplier: float,
    clipping_norm: float,
    expected_batch: float,
    generator: torch.Generator | None,
) -> tuple[Any, PrivateOptimizer]:
    """Record per-utterance gradients of ``module``'s layers, and wrap the optimizer of its parameters.

    The hooks sit on the layers themselves, so a frozen model around ``module`` goes on calling it as it is.
    ``generator`` is a simulation's; None draws from the operating system. Undo with
    ``hooked.to_standard_module()``.
    """
    # Opacus records nothing of a layer in evaluation mode. Those that hold parameters (tables, linear maps) behave
    # alike in both modes; all others stay in theirs, so that nothing is dropped out.
    for layer in _trained_layers(module):
        layer.training = True
    hooked = GradSampleModule(module, batch_first=True, loss_reduction="sum", strict=True)
    private = PrivateOptimizer(
        optimizer,
        noise_multiplier=noise_multiplier,
        max_grad_norm=clipping_norm,
        expected_batch_size=expected_batch,
        loss_reduction="mean",
        generator=generator,
    )
    return hooked, private


def dp_sgd_steps(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    per_utterance_loss: Callable[[list[int]], Tensor],
    settings: PersonalDP,
    *,
    reserve: Callable[[SampledGaussian], object],
    generator: torch.Generator | None,
    progress: Callable[[int, int], None] | None = None,
) -> SampledGaussian:
    """Train ``module`` privately for ``settings.steps`` steps and return what was spent.

    ``per_utterance_loss`` is called with a list of one utterance's index, once for each that the coins chose, and
    returns its loss ``(1,)``. Each of ``module``'s tables and layers must get its input with the batch first.
    ``reserve`` is called with the whole cost before the first step
    (the ledger's :meth:`~client.home.ledger.Ledger.reserve`), and what it raises stops the training before it starts. A
    step on which the coins choose nobody is taken all the same, on noise alone. An utterance whose loss or gradient
    is not finite counts for nothing and stops nothing: whether a training ends would else tell of that utterance, and
    nobody paid for it. Raises :class:`PrivacyError` if the losses are not one an utterance, or if the trained
    numbers, which are noised, are no longer finite.
    """
    _require_alone(module, optimizer)
    cost = settings.cost
    reserve(cost)
    was_training = [(layer, layer.training) for layer in _trained_layers(module)]
    hooked, private = make_private(
        module,
        optimizer,
        noise_multiplier=settings.noise_multiplier,
        clipping_norm=settings.clipping_norm,
        expected_batch=settings.expected_batch,
        generator=generator,
    )
    try:
        for step in range(settings.steps):
            private.zero_grad()
            coins = uniform(settings.utterances, generator) < settings.sampling_probability
            _per_utterance_gradients(private, per_utterance_loss, coins.nonzero().flatten().tolist())
            private.step()
            if progress is not None:
                progress(step + 1, settings.steps)
        _require_finite(private)
    finally:
        private.zero_grad()
        hooked.to_standard_module()
        for layer, training in was_training:
            layer.training = training
    return cost


def _per_utterance_gradients(
    private: PrivateOptimizer, per_utterance_loss: Callable[[list[int]], Tensor], chosen: list[int]
) -> None:
    found = [_gradients_alone(private, per_utterance_loss, index) for index in chosen]
    for position, parameter in enumerate(private.params):
        rows = [gradients[position] for gradients in found]
        # Where nobody was chosen the sum is 0, and is noised all the same.
        parameter.grad_sample = torch.cat(rows) if rows else parameter.new_zeros((0, *parameter.shape))


def _gradients_alone(
    private: PrivateOptimizer, per_utterance_loss: Callable[[list[int]], Tensor], index: int
) -> list[Tensor]:
    """One utterance's gradient of each parameter ``(1, ...)``, from a pass that saw no other utterance."""
    for parameter in private.params:
        parameter.grad_sample = None
    losses = per_utterance_loss([index])
    if losses.shape != (1,):
        raise PrivacyError(
            f"private training of an utterance needs one loss each, of shape (1,), and got {tuple(losses.shape)}"
        )
    with warnings.catch_warnings():
        # Tables are looked up by integers, which have no gradient: just what the hooks expect here.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        torch.autograd.backward(losses.sum())
    gradients = []
    for parameter in private.params:
        found = parameter.grad_sample
        if found is None:
            # This layer was not used: its part of the sum is 0, and is noised.
            found = parameter.new_zeros((1, *parameter.shape))
        elif len(found) != 1:
            raise PrivacyError(
                f"1 utterance gave {len(found)} gradients of one layer: give a table its row once an utterance, and a "
                "layer its input with the batch first"
            )
        # Clipped and added up in the parameters' precision, whatever the pass was computed in.
        gradients.append(found.to(parameter.dtype))
    # One utterance's NaN would pass through clipping and undo the noise: it counts for nothing instead.
    finite = torch.stack([torch.isfinite(found).all() for found in (losses, *gradients)]).all()
    return [torch.where(finite, gradient, 0.0) for gradient in gradients]


def _trained_layers(module: nn.Module) -> list[nn.Module]:
    return [
        layer
        for layer in module.modules()
        if any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    ]


def _require_finite(private: PrivateOptimizer) -> None:
    finite = torch.stack([torch.isfinite(parameter).all() for parameter in private.params])
    if not bool(on_host(finite).all()):
        raise PrivacyError("the voice is not finite in private training: lower the learning rate")


def _require_alone(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    own = {id(parameter) for parameter in module.parameters() if parameter.requires_grad}
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not own or own != trained:
        raise PrivacyError(
            "private training covers exactly the personal module: the optimizer must hold its trainable "
            "parameters, all of them and no others"
        )
