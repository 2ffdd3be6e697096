"""What one client is asked to do, and the random numbers that are its own to draw in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from shared_models.config import Recipe
from shared_models.seeds import derive_seed, generator


@dataclass(frozen=True, slots=True)
class Task:
    """One round of one run for one client. Every draw in it has a seed of its own, by what it is for."""

    recipe: Recipe
    run: str
    round: int
    """From 1; 0 for what is trained outside of rounds."""
    member: int
    """The client's number in the federation."""
    simulated: bool
    """Whether privacy's draws repeat too. A simulation's come from the recipe's seed; a real device's come from the
    operating system, since whoever sent the recipe knows its seed."""

    def seed(self, draw: str) -> int:
        """The seed of a draw of this client in this round."""
        return derive_seed(self.recipe.seed, draw, self.round, self.member)

    def generator(self, draw: str) -> torch.Generator:
        """A CPU generator of that seed."""
        return generator(self.recipe.seed, draw, self.round, self.member)

    def private_seed(self, draw: str) -> int | None:
        """The seed of a draw that privacy depends on; None for the operating system's own numbers."""
        return self.seed(draw) if self.simulated else None

    def private(self, rng: torch.Generator) -> torch.Generator | None:
        """``rng`` for a draw that privacy depends on, in a simulation; None for the operating system's own numbers."""
        return rng if self.simulated else None
