"""The recipe's section on the discriminator of mel spectrograms."""

from __future__ import annotations

from pydantic import Field

from shared_models.recipe_section import Section


class AdversarialConfig(Section):
    """Centralised training against a discriminator of mels, which keeps the decoder from blurring them."""

    weight: float = Field(
        0.0,
        ge=0,
        description="Norm of the discriminator's gradient on the mel, relative to the L1 error's; 0: none takes part.",
    )
    from_round: int = Field(1, ge=1, description="First round in which the decoder hears it.")
    learning_rounds: int = Field(
        0, ge=0, description="Rounds before that in which the discriminator alone learns."
    )
    feature_matching: float = Field(
        2.0, ge=0, description="Weight of feature matching beside the adversarial loss."
    )
    lr: float = Field(2e-4, gt=0, description="Adam on the discriminator.")
    channels: int = Field(24, ge=1, description="Width of its first layer; the others have twice as many.")

    def learns_in(self, round_number: int) -> bool:
        """Whether the discriminator takes part in a round at all."""
        return self.weight > 0 and round_number >= self.from_round - self.learning_rounds

    def pulls_in(self, round_number: int) -> bool:
        """Whether the decoder hears it in a round."""
        return self.weight > 0 and round_number >= self.from_round


class EpisodesConfig(Section):
    """Centralised training in Meta-StyleSpeech's episodes: a style that is heard once says other texts."""

    from_round: int | None = Field(
        None,
        ge=1,
        description="First round of episodes; null: none. Rounds of the pretraining have 50 steps.",
    )
    support_weight: float = Field(10.0, gt=0, description="Of the mel of what the style was heard in.")
    adversarial_weight: float = Field(
        1.0, ge=0, description="Of what the two discriminators find wrong with the other texts."
    )
    lr: float = Field(2e-4, gt=0, description="Adam on the discriminators.")
