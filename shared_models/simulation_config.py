"""A recipe's sections on simulations: what is measured, and where the clients run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared_models.device_name import DeviceName, Precision
from shared_models.recipe_section import Section


class EvaluationConfig(Section):
    """What is measured on unseen speakers."""

    speakers: int | None = Field(None, ge=1, description="At most so many; all by default.")
    queries: int = Field(5, ge=1, description="Query utterances a speaker.")
    metrics: tuple[Literal["similarity", "mcd", "f0", "wer"], ...] = ("similarity", "mcd", "f0", "wer")
    every: int = Field(5, ge=1, description="Rounds between validation losses.")
    validation: int = Field(12, ge=1, description="Unseen utterances in the validation loss.")
    vocoder: str = Field(
        "griffin_lim",
        description="What the clones are heard through: griffin_lim, packaged, or a vocoder file.",
    )


class EngineConfig(Section):
    """Where the clients of a simulation run."""

    kind: Literal["process", "ray"] = "process"
    workers: int | None = Field(None, ge=1, description="Worker processes; one a core by default.")
    threads: int = Field(1, ge=1, description="Torch threads a client: part of what makes runs repeat.")
    device: DeviceName = Field(
        "auto",
        description="Where training and evaluation run: cpu, cuda, cuda:N, mps, or auto, which takes what is there. "
        "Worker processes share one GPU. A live device's owner decides this in the policy.",
    )
    precision: Precision = Field(
        "float32",
        description="bfloat16: products within forward passes; weights and privacy stay float32. 'auto' is bfloat16 "
        "on a device made for it, where equal seeds then give other weights, and float32 elsewhere.",
    )
