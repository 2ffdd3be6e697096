"""On whose terms a voice is trained privately: a live device's are its owner's, and not the server's."""

from __future__ import annotations

from dataclasses import dataclass

from shared_models.config import Recipe


@dataclass(frozen=True, slots=True)
class PersonalTerms:
    """What the noise of private personal training is made for."""

    epsilon: float | None
    """Target of the whole training, at ``delta``; None where the recipe names the noise itself."""
    delta: float
    minimum_noise_multiplier: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> PersonalTerms:
        """The recipe's own: those of a simulation, and of an owner who clones."""
        return cls(recipe.personal_privacy.epsilon, recipe.personal_privacy.delta)
