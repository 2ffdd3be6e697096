"""The recipe's sections on differential privacy: of what is sent, and of a voice's own training."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from shared_models.recipe_section import Section


class PrivacyConfig(Section):
    """User-level differential privacy of what is sent."""

    mode: Literal["none", "central"] = "none"
    epsilon: float | None = Field(None, gt=0, description="Target; the noise multiplier follows from it.")
    delta: float = Field(1e-5, gt=0, lt=1, description="Below one over the population.")
    noise_multiplier: float | None = Field(None, gt=0, description="Instead of epsilon.")
    clipping_norm: float = Field(0.5, gt=0, description="C, over a user's whole update.")
    shrinkage: bool = Field(
        False,
        description="Shrink each released mean by the positive-part James-Stein factor: where noise dominates, a round "
        "changes next to nothing. It reads what is released anyway and costs no privacy.",
    )
    population: int | None = Field(
        None, ge=1, description="Users that noise_cohort is drawn from; the clients themselves without it."
    )
    noise_cohort: int | None = Field(
        None,
        ge=1,
        description="The larger cohort whose noise is simulated (pfl-research's scaling); both are reported.",
    )

    @model_validator(mode="after")
    def _one_target(self) -> PrivacyConfig:
        if self.mode != "none" and (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give exactly one of epsilon and noise_multiplier")
        return self

    @model_validator(mode="after")
    def _small_delta(self) -> PrivacyConfig:
        if self.mode != "none" and self.population is not None and self.delta >= 1 / self.population:
            raise ValueError(delta_problem(self.delta, self.population))
        return self


class PersonalPrivacyConfig(Section):
    """Utterance-level DP-SGD of the personal set, on the device (inner loop and cloning)."""

    enabled: bool = False
    epsilon: float | None = Field(None, gt=0, description="Target for all personal training of a device.")
    delta: float = Field(1e-3, gt=0, lt=1)
    noise_multiplier: float | None = Field(None, gt=0)
    clipping_norm: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _one_target(self) -> PersonalPrivacyConfig:
        if self.enabled and (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give exactly one of epsilon and noise_multiplier")
        return self


def delta_problem(delta: float, population: float) -> str:
    """Why ``delta`` does not do for so many people."""
    return (
        f"privacy.delta {delta:g} is not below one over the population of {population:g}, so that publishing one "
        f"person outright would be allowed: set privacy.delta to {default_delta(population):g} or less"
    )


def default_delta(population: float) -> float:
    """The largest power of ten that is at most a tenth of one over the population."""
    return float(f"1e{-1 - math.ceil(math.log10(population) - 1e-9)}")
