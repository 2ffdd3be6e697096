"""The recipe's section on neural vocoders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from shared_models.recipe_section import Section


class VocoderConfig(Section):
    """Training of a neural vocoder (``fedvoice vocoder train``)."""

    kind: Literal["hifigan_v1", "hifigan_v2", "hifigan_v3", "melgan", "diffwave", "vocos", "magnitude"] = (
        "vocos"
    )
    width: int | None = Field(None, ge=8, description="Channels; the kind's own if empty.")
    hidden: int | None = Field(None, ge=8, description="Vocos, magnitude: channels inside of a block.")
    blocks: int | None = Field(None, ge=1, description="Vocos, magnitude: number of blocks.")
    iterations: int | None = Field(None, ge=1, description="Magnitude: Griffin-Lim's, in synthesis.")
    steps: int = Field(20000, ge=1)
    batch_size: int = Field(16, ge=1, description="Segments a step.")
    segments_at_once: int | None = Field(
        None, ge=1, description="DiffWave: how many of them are in memory at a time; all if empty."
    )
    segment_frames: int = Field(32, ge=8, description="Frames a segment (256 samples each).")
    context_frames: int = Field(
        0, ge=0, description="Frames more on each side that the generator sees and no loss judges."
    )
    generator_lr: float = Field(2e-4, gt=0)
    discriminator_lr: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = Field((0.8, 0.99), description="AdamW's, of generator and discriminators.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's.")
    decay: Literal["cosine", "exponential", "none"] = Field(
        "cosine", description="How the learning rates fall: to 0 at the last step, by decay_rate, or not."
    )
    decay_rate: float = Field(0.999, gt=0, le=1, description="Exponential: factor every decay_steps steps.")
    decay_steps: int = Field(800, ge=1)
    gradient_clip: float = Field(1000.0, gt=0, description="Largest gradient norm of a step.")
    average: float = Field(
        0.999, ge=0, lt=1, description="Decay of the generator's averaged weights, which are what is saved."
    )
    discriminators: tuple[
        Literal["period", "scale", "spectrogram", "light_spectrogram", "bands", "melgan"], ...
    ] = Field(("period", "scale"), description="Families of discriminators; none trains on distances alone.")
    discriminator_weights: tuple[float, ...] = Field(
        (), description="Weight of each family in the generator's loss; 1 for all if empty."
    )
    discriminator_widths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (), description="Channels of each family, as a share of the published ones; 1 for all if empty."
    )
    discriminate_every: int = Field(1, ge=1, description="Steps between the discriminators' own steps.")
    adversarial: Literal["lsgan", "hinge"] = "lsgan"
    adversarial_from: int = Field(
        0, ge=0, description="First step with discriminators; until then multi-resolution STFT instead."
    )
    feature_weight: float = Field(2.0, ge=0, description="Feature matching, beside the adversarial loss's 1.")
    mel_weight: float = Field(45.0, ge=0, description="L1 of the full-band log-mel.")
    stft_weight: float = Field(2.5, ge=0, description="Multi-resolution STFT, before adversarial_from.")
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints.")
    validate_every: int = Field(1000, ge=1, description="Steps between validations on unseen speakers.")
    validation_recordings: int = Field(2, ge=1, description="Recordings an unseen speaker in a validation.")

    @field_validator("discriminator_weights", "discriminator_widths")
    @classmethod
    def _one_for_each(cls, numbers: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        families = info.data.get("discriminators", ())
        if len(numbers) not in {0, len(families)}:
            raise ValueError(f"give {len(families)} numbers, one for each of vocoder.discriminators, or none")
        return numbers

    @field_validator("betas")
    @classmethod
    def _decays(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must be at least 0 and below 1")
        return betas

    @field_validator("hidden", "blocks")
    @classmethod
    def _of_convnext(cls, size: int | None, info: ValidationInfo) -> int | None:
        kind = info.data.get("kind", "vocos")
        if size is not None and kind not in {"vocos", "magnitude"}:
            raise ValueError(f"this is a size of vocos and magnitude, and the kind is {kind}")
        return size

    @field_validator("segments_at_once")
    @classmethod
    def _of_a_mean(cls, size: int | None, info: ValidationInfo) -> int | None:
        kind = info.data.get("kind", "vocos")
        if size is not None and kind != "diffwave":
            # The others' losses compare whole batches: those of their parts do not add up to them.
            raise ValueError(
                f"only diffwave trains on a part of its segments at a time, and the kind is {kind}"
            )
        return size

    @property
    def families(self) -> tuple[str, ...]:
        """The discriminators that training really uses; noise and magnitudes have losses of their own."""
        return () if self.kind in {"diffwave", "magnitude"} else self.discriminators

    @property
    def drawn_frames(self) -> int:
        """Frames of a segment with its context."""
        return self.segment_frames + 2 * self.context_frames
