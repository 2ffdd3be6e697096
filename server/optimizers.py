"""Server optimizers on flat vectors: the mean update is taken for a (negative) gradient.

Source: Reddi 2021 (arXiv 2003.00295, Algorithms 1 and 2; FedAvgM is its SGD with momentum, from Hsu 2019,
arXiv 1909.06335). As in Algorithm 2 there is no bias correction, and the second moment starts at tau**2.
Under differential privacy a step is post-processing and costs nothing.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from shared_models.config import FederationConfig
from shared_models.errors import CheckpointError


class ServerOptimizer(Protocol):
    """What a round needs of a server optimizer."""

    def step(self, weights: Tensor, mean_update: Tensor) -> Tensor:
        """New weights ``(D,)`` from the old and the mean update, both ``(D,)`` float32 and left unchanged."""

    def state(self) -> dict[str, Tensor]:
        """Its memory by name, for a checkpoint; the tensors are its own, not copies."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a saved memory. Raises :class:`CheckpointError` if it is another optimizer's."""


class FedAvg:
    """``x + lr * update``; with ``lr`` 1 the plain average of the clients' weights."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def step(self, weights: Tensor, mean_update: Tensor) -> Tensor:
        """See :class:`ServerOptimizer`."""
        return torch.add(weights, mean_update, alpha=self.lr)

    def state(self) -> dict[str, Tensor]:
        """Empty: plain averaging keeps no state."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Accepts an empty state alone: plain averaging keeps none."""
        _check_state(state, {})


class FedAvgM:
    """Heavy-ball momentum: ``m = momentum * m + update``, ``x + lr * m``."""

    def __init__(self, size: int, lr: float, momentum: float) -> None:
        self.lr, self.momentum = lr, momentum
        self.m = torch.zeros(size)

    def step(self, weights: Tensor, mean_update: Tensor) -> Tensor:
        """See :class:`ServerOptimizer`."""
        self.m.mul_(self.momentum).add_(mean_update)
        return torch.add(weights, self.m, alpha=self.lr)

    def state(self) -> dict[str, Tensor]:
        """``m``, ``(D,)``."""
        return {"m": self.m}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See :class:`ServerOptimizer`."""
        _check_state(state, self.state())
        self.m.copy_(state["m"])


class FedAdam:
    """``v = beta2 v + (1 - beta2) u**2``; FedYogi differs in this line alone."""

    def __init__(self, size: int, lr: float, beta1: float, beta2: float, tau: float) -> None:
        self.lr, self.beta1, self.beta2, self.tau = lr, beta1, beta2, tau
        self.m = torch.zeros(size)
        self.v = torch.full((size,), tau**2)

    def step(self, weights: Tensor, mean_update: Tensor) -> Tensor:
        """See :class:`ServerOptimizer`."""
        self.m.mul_(self.beta1).add_(mean_update, alpha=1 - self.beta1)
        self._second_moment(mean_update)
        return torch.addcdiv(weights, self.m, self.v.sqrt().add_(self.tau), value=self.lr)

    def _second_moment(self, mean_update: Tensor) -> None:
        self.v.mul_(self.beta2).addcmul_(mean_update, mean_update, value=1 - self.beta2)

    def state(self) -> dict[str, Tensor]:
        """``m`` and ``v``, ``(D,)`` each."""
        return {"m": self.m, "v": self.v}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See :class:`ServerOptimizer`."""
        _check_state(state, self.state())
        self.m.copy_(state["m"])
        self.v.copy_(state["v"])


class FedYogi(FedAdam):
    """``v = v - (1 - beta2) u**2 sign(v - u**2)``: grows like Adam's, and shrinks more slowly."""

    def _second_moment(self, mean_update: Tensor) -> None:
        squares = mean_update.square()
        self.v.addcmul_(squares, (self.v - squares).sign_(), value=-(1 - self.beta2))


def build_server_optimizer(config: FederationConfig, size: int) -> ServerOptimizer:
    """The optimizer that a recipe names, for ``size`` shared coordinates."""
    match config.server_optimizer:
        case "fedavg":
            return FedAvg(config.server_lr)
        case "fedavgm":
            return FedAvgM(size, config.server_lr, config.momentum)
        case "fedadam":
            return FedAdam(size, config.server_lr, config.beta1, config.beta2, config.tau)
        case "fedyogi":
            return FedYogi(size, config.server_lr, config.beta1, config.beta2, config.tau)


def _check_state(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    if shapes != wanted:
        raise CheckpointError(
            f"the checkpoint's server optimizer holds {shapes or 'nothing'} where this recipe's needs "
            f"{wanted or 'nothing'}: resume with the recipe that made it"
        )
