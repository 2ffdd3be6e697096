"""The recipe's section on speaker encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from shared_models.kinds import known
from shared_models.recipe_section import Section
from shared_models.speakers.encoders import ENCODERS

# As its open version (Real-Time-Voice-Cloning) was trained.
_RATES = {"d_vector": 1e-4}


class EncoderConfig(Section):
    """Training of a speaker encoder (``fedvoice speaker-encoder train``)."""

    kind: str = Field("ecapa", description="'d_vector', 'x_vector' or 'ecapa'.")
    sizes: dict[str, int] = Field(
        default_factory=dict, description="Dimensions that differ from the published ones, as channels = 256."
    )
    norm: Literal["batch", "layer"] = Field(
        "batch",
        description="x_vector, ecapa: 'batch' is what is published; 'layer' is what a federation can go on training.",
    )
    loss: Literal["softmax", "aam", "ge2e"] = "aam"
    steps: int = Field(5000, ge=1)
    speakers: int = Field(16, ge=2, description="N: speakers a step.")
    utterances: int = Field(4, ge=2, description="M: utterances of each.")
    frames: int = Field(160, ge=16, description="Of each utterance a step hears so many, at 100 a second.")
    lr: float | None = Field(
        None, gt=0, description="Null is 1e-3, and 1e-4 for a d_vector, whose last ReLU can die at more."
    )
    gradient_clip: float = Field(3.0, gt=0)
    checkpoint_every: int = Field(200, ge=1)
    validate_every: int = Field(500, ge=1, description="Steps between equal error rates on unseen speakers.")
    trial_utterances: int = Field(8, ge=2, description="Utterances an unseen speaker is tried with, at most.")

    @property
    def rate(self) -> float:
        """Adam's learning rate."""
        return self.lr if self.lr is not None else _RATES.get(self.kind, 1e-3)

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        return known(kind, ENCODERS, "speaker encoder")

    @model_validator(mode="after")
    def _has_a_norm(self) -> EncoderConfig:
        if self.kind == "d_vector" and self.norm == "layer":
            raise ValueError("a d_vector has no norm to choose: leave encoder.norm")
        return self
