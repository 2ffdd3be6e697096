"""One step down a loss, and an optimizer's moments as plain tensors, for whatever trains and for whoever resumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def descend(
    loss: Tensor, parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, clip: float
) -> float:
    """One step of ``optimizer`` on the gradient of ``loss ()``, clipped to the norm ``clip``; the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
    return loss.item()


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers of each parameter, as ``0.exp_avg``; not copied."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, remembered in optimizer.state_dict()["state"].items()
        for name, value in remembered.items()
    }


def load_moments(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Put :func:`moments` back, copied, into an optimizer of the same parameters; learning rates stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        index, name = key.split(".")
        # Some implementations step in place on what they are given.
        state.setdefault(int(index), {})[name] = value.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
