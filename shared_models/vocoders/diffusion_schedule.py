"""How much noise a diffusion adds at each step, and which training step a faster one stands for.

Source: Z. Kong et al., "DiffWave: A versatile diffusion model for audio synthesis", ICLR 2021
(arXiv 2009.09761), its section 3 and appendix B (fast sampling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import numpy as np

from shared_models.errors import RecipeError


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """The variances of the noise that the steps of a diffusion add.

    Raises :class:`RecipeError` unless there is a step and every variance lies between 0 and 1.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.betas or not all(0 < beta < 1 for beta in self.betas):
            raise RecipeError(f"the noise variances {self.betas} must be one or more numbers between 0 and 1")

    @property
    def kept(self) -> tuple[float, ...]:
        """After each step, the share of the wave's variance that is left: the product of 1 - beta."""
        return tuple(accumulate((1 - beta for beta in self.betas), mul))

    def posterior_deviation(self, step: int) -> float:
        """Standard deviation of the noise that sampling puts back on the way from ``step`` to the one before.

        The posterior's, ``beta (1 - kept before) / (1 - kept)``; 0 at the last step of sampling, step 0.
        """
        if step == 0:
            return 0.0
        kept = self.kept
        return math.sqrt(self.betas[step] * (1 - kept[step - 1]) / (1 - kept[step]))

    def steps_within(self, training: NoiseSchedule) -> tuple[float, ...]:
        """For every step of this schedule, the fractional step of ``training`` with as much noise.

        Linear between two steps in the share of the amplitude that is left. Raises :class:`RecipeError` for
        a schedule that ends noisier than ``training``, which a network trained with that has never seen.
        """
        amplitudes, trained = np.sqrt(self.kept), np.sqrt(training.kept)
        if amplitudes[-1] < trained[-1] - 1e-9:
            raise RecipeError(
                f"a sampling schedule that leaves {amplitudes[-1]:.3f} of the wave is noisier than training, "
                f"which leaves {trained[-1]:.3f}; take smaller variances"
            )
        # Interpolation wants rising abscissas, and the amplitudes fall.
        steps = np.interp(amplitudes, trained[::-1], np.arange(len(trained))[::-1])
        return tuple(float(step) for step in steps)


TRAINING = NoiseSchedule(tuple(float(beta) for beta in np.linspace(1e-4, 0.05, 50)))
"""The 50 steps that DiffWave trains with, and samples with when time does not matter."""
FAST = NoiseSchedule((1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5))
"""The authors' six steps."""
