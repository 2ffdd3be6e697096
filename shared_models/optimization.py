"""Steps down a loss, and an optimizer's moments as plain tensors, for whatever trains and for whoever resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared_models.accelerator import on_host

BETAS = (0.9, 0.99)
"""Adam's, wherever a recipe names none: a few steps on few utterances leave no time for a longer memory."""


def adam(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float = 1e-3, *, fused: bool = True
) -> torch.optim.Adam:
    """Adam (Kingma 2015, arXiv 1412.6980) with :data:`BETAS`; ``lr`` is that of groups which name none."""
    groups: list[Any] = list(parameters)
    trained = [p for group in groups for p in (group["params"] if isinstance(group, dict) else [group])]
    return torch.optim.Adam(groups, lr=lr, betas=BETAS, fused=fused and can_fuse(trained))


def can_fuse(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether an optimizer can step on all of them in one kernel; without numbers, on ``meta``, none can."""
    return all(parameter.device.type in ("cpu", "cuda", "mps") for parameter in parameters)


def descend(
    loss: Tensor,
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    clip: float | None,
    *,
    pull: Callable[[], None] | None = None,
) -> Tensor:
    """One step of ``optimizer`` on the gradient of ``loss ()``, clipped to the norm ``clip``; the loss before it.

    ``pull`` adds to the gradient before it is clipped. Nothing is read, the loss included: see :func:`told`.
    """
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if pull is not None:
        pull()
    if clip is not None:
        nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
    return loss.detach()


def told(losses: Sequence[Tensor]) -> list[float]:
    """Losses ``()`` as plain numbers, read all at once."""
    found: list[float] = on_host(torch.stack(list(losses))).tolist() if losses else []
    return found


def take_steps(
    next_loss: Callable[[], Tensor],
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    clip: float | None,
    *,
    steps: int,
    falls_from: float = 1.0,
    pull: Callable[[], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[float]:
    """So many steps, each on a ``next_loss()`` of its own; the losses. ``on_step`` is told ``(done, steps)``.

    After the share ``falls_from`` of the steps the learning rates fall, linearly towards 0.
    """
    losses = []
    full = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        if step > falls_from * steps:
            for group, rate in zip(optimizer.param_groups, full, strict=True):
                group["lr"] = rate * (1 - step / steps) / (1 - falls_from)
        losses.append(descend(next_loss(), parameters, optimizer, clip, pull=pull))
        if on_step is not None:
            on_step(step + 1, steps)
    return told(losses)


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
