"""The recipe's section on what a mel is judged by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from shared_models.kinds import known
from shared_models.recipe_section import Section
from shared_models.speakers.encoders import ENCODERS

MelError = Literal["l1", "l2", "l1+l2"]


class LossConfig(Section):
    """How far a mel is from the recording's. Durations, pitch and energy have losses of their own."""

    mel: MelError = Field(
        "l1", description="Error of the mel: absolute, squared, or the sum of both, in natural-log units."
    )
    perceptual: float = Field(
        0.0,
        ge=0,
        description="Rounds and centralised training: weight of the distance between what a frozen speaker encoder's "
        "layers say of the mel and of the recording's.",
    )
    consistency: float = Field(
        0.0,
        ge=0,
        description="Rounds and centralised training: weight of 1 - cosine of that encoder's embeddings of both.",
    )
    judge: dict[str, str] = Field(
        default_factory=dict,
        description="That encoder's kind and file, as ecapa = 'encoder.safetensors'. It is not to be one that scores.",
    )

    @property
    def heard(self) -> bool:
        """Whether an encoder hears the mels."""
        return self.perceptual > 0 or self.consistency > 0

    @model_validator(mode="after")
    def _has_a_judge(self) -> LossConfig:
        for kind in self.judge:
            known(kind, ENCODERS, "speaker encoder")
        if len(self.judge) > 1:
            raise ValueError(f"losses.judge names {len(self.judge)} encoders: name one")
        if self.heard and not self.judge:
            raise ValueError(
                "losses.perceptual and losses.consistency need an encoder: name one, as losses.judge.ecapa=FILE"
            )
        return self
