"""The losses of a vocoder's steps: kept where they were computed, and read all at once.

Reading a number from an accelerator waits for all that it was asked to do. So a step gives tensors, and whoever shows
losses, or keeps what came of them, reads those of many steps together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from shared_models.errors import CheckpointError
from shared_models.optimization import told

Figures = dict[str, Tensor]
"""The losses of a step by name: each one number, or the numbers ``(n,)`` of which it is the sum."""
GRADIENT = "gradient"
"""The gradient's norm, which is shown and which no training is stopped for."""


def told_figures(steps: Mapping[int, Figures]) -> list[dict[str, float]]:
    """The figures of ``steps``, in their order, as plain numbers.

    Raises :class:`CheckpointError` for the first step with a loss that is not finite; what came of it may not be kept.
    """
    values = iter(
        told([part for figures in steps.values() for one in figures.values() for part in one.view(-1)])
    )
    read = [
        {name: sum(next(values) for _ in range(one.numel())) for name, one in figures.items()}
        for figures in steps.values()
    ]
    for number, figures in zip(steps, read, strict=True):
        for name, value in figures.items():
            if name != GRADIENT and not math.isfinite(value):
                raise CheckpointError(
                    f"the vocoder's training diverged at step {number} (loss '{name}' is not finite): lower "
                    "vocoder.generator_lr or vocoder.gradient_clip and start anew"
                )
    return read


def main_loss(figures: dict[str, float]) -> float:
    """The one loss of a step that a curve shows: of whichever kind of generator it is."""
    return next(figures[name] for name in ("mel", "noise", "log_magnitude") if name in figures)
