"""A recipe's sections on training: a device's steps in a round, and a newcomer's clone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from shared_models.recipe_section import Section
from shared_models.speakers.adaptation import Site, kinds_of


class ClientConfig(Section):
    """The device's side of a round."""

    inner_steps: int = Field(3, ge=0, description="Steps on the personal set, on support utterances.")
    inner_lr: float = Field(
        0.02, gt=0, description="Adam on the personal set; plain SGD on what adapts, in meta-learning."
    )
    outer_steps: int = Field(4, ge=1, description="Steps on the shared set, on query utterances.")
    outer_lr: float = Field(1e-3, gt=0)
    outer_optimizer: Literal["sgd", "adam"] = "adam"
    decay_from: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the rounds after which outer_lr falls, linearly to a twentieth.",
    )
    warmup_rounds: int = Field(0, ge=0, description="First rounds, over which outer_lr rises to its full.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest gradient norm of a local step.")
    batch_size: int = Field(6, ge=1, description="Utterances a step.")
    length_buckets: bool = Field(
        False,
        description="Centralised training: utterances of a step have about as many phonemes, which wastes less on "
        "padding.",
    )
    window_frames: int | None = Field(
        256, ge=32, description="Decode at most so many frames of an utterance a step; null for all."
    )
    support_fraction: float = Field(0.4, gt=0, lt=1, description="Share of utterances in the inner loop.")


class CloningConfig(Section):
    """How a newcomer's voice is cloned from a few utterances."""

    support: int = Field(5, ge=1, description="Utterances to clone from.")
    steps: int = Field(60, ge=0, description="Adaptation steps on the personal set; 0 is zero-shot.")
    lr: float = Field(0.02, gt=0)
    optimizer: Literal["adam", "sgd"] = Field(
        "adam",
        description="'sgd': the plain steps of an inner loop, at the rates that it learnt, for bases of meta-learning.",
    )
    decay_from: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the steps after which lr falls, linearly towards 0; not by DP-SGD.",
    )
    adaptation: str | None = Field(
        None,
        description="What a clone trains, as speaker.personal names it; that itself if null. A base need not have been "
        "trained with it.",
    )
    layers: tuple[Site, ...] | None = Field(
        None, description="Where such an adaptation changes layers; speaker.layers if null."
    )
    private_adaptation: str | None = Field(
        None, description="What a clone by DP-SGD trains instead; the same as without if null."
    )
    private_lr: float | None = Field(None, gt=0, description="Its learning rate; cloning.lr if null.")
    adversarial: float = Field(
        0.0,
        ge=0,
        description="Pull of the base's discriminator of mels on a clone, as adversarial.weight. It hears the "
        "recordings without noise, so a clone by DP-SGD goes without; so does one on a base that has none.",
    )
    words: float = Field(
        0.0,
        ge=0,
        description="Weight of what the base's recogniser misreads of other texts that the clone says meanwhile. A "
        "clone by DP-SGD, and one on a base that has none, goes without.",
    )
    words_frames: int = Field(96, ge=16, description="Frames of each of these texts that are said.")
    local_steps: int = Field(
        60, ge=1, description="Steps on the whole model where a device trains alone (algorithm 'local')."
    )

    @field_validator("adaptation", "private_adaptation")
    @classmethod
    def _known_adaptation(cls, adaptation: str | None) -> str | None:
        return adaptation and "+".join(kinds_of(adaptation))

    @model_validator(mode="after")
    def _one_way_of_steps(self) -> CloningConfig:
        judged = {"adversarial": self.adversarial, "words": self.words}
        if self.optimizer == "sgd" and (asked := [name for name, weight in judged.items() if weight]):
            raise ValueError(
                f"cloning.{asked[0]} is for steps by Adam, and the plain steps of an inner loop have no judge beside "
                "them (no discriminator, no recogniser): set it to 0, or choose cloning.optimizer = 'adam'"
            )
        return self
