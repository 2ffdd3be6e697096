"""The recipe's sections on the voice model: what it is given, its sizes, its speakers, and its aligner."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from shared_models.audio.signals import SIGNALS
from shared_models.kinds import known
from shared_models.recipe_section import Section
from shared_models.speakers.adaptation import Site, kinds_of
from shared_models.speakers.conditioning import CONDITIONINGS, Place
from shared_models.speakers.sources import SOURCES

PACKAGED = "packaged"
"""The base that ships, where a recipe names one."""


class FeatureConfig(Section):
    """What is computed from audio. The mel itself is HiFi-GAN's and has no settings."""

    trim_silence: bool = Field(True, description="Cut leading and trailing silence down to 50 ms.")
    level_dbfs: float | None = Field(-24.0, description="Bring speech to this RMS level; null leaves it.")
    signals: tuple[str, ...] = Field(
        (),
        description="What is kept of a recording beside its mel, for sources that hear it: 'wave', 'power_mel', "
        "'filterbanks_40', 'filterbanks_80'.",
    )

    @field_validator("signals")
    @classmethod
    def _known_signals(cls, signals: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(known(signal, SIGNALS, "signal of a recording") for signal in signals)


class ModelConfig(Section):
    """The FastSpeech 2 acoustic model. ``size`` sets every dimension that is left empty."""

    size: Literal["tiny", "base", "large"] = Field("tiny", description="A named set of dimensions.")
    hidden: int | None = Field(None, ge=8, description="H, width of encoder and decoder.")
    encoder_layers: int | None = Field(None, ge=1)
    decoder_layers: int | None = Field(None, ge=1)
    heads: int | None = Field(None, ge=1)
    filter: int | None = Field(None, ge=8, description="Width of the convolutional feed-forward layers.")
    kernel: int | None = Field(None, ge=1, description="Kernel of the first feed-forward convolution (odd).")
    postnet: bool | None = Field(None, description="A convolutional PostNet after the mel projection.")
    dropout: float = Field(0.1, ge=0, lt=1)
    source: Literal["none", "harmonics"] = Field(
        "none",
        description="'harmonics': the decoder is told pitch, voicing and energy of each frame, and shown the harmonics "
        "at that pitch; 'none': pitch and energy of each phoneme alone.",
    )
    durations: Literal["log", "mean"] = Field(
        "log",
        description="What is learnt of durations: 'log' has a squared error of log(d + 1), whose best answer is too "
        "short on average; 'mean' has the gamma deviance, whose best answer is the mean.",
    )
    pitch_spread: float = Field(
        1.0,
        ge=0,
        description="How many times wider than predicted the phonemes' pitch is spoken: predictions are means, which "
        "vary less than speech does.",
    )
    duration_spread: float = Field(1.0, ge=0, description="The same for the durations of sounds.")
    contrast: float = Field(
        0.3,
        ge=0,
        description="How much the postfilter raises formants in what is spoken; 0 leaves the spectra as they are.",
    )
    style_rank: int = Field(
        0,
        ge=0,
        description="Rank of low-rank changes of matrices that are everybody's (Fed-PISA's style); 0: none.",
    )
    frozen: str | None = Field(
        None,
        description="A base that nobody trains, so that only the style is shared: 'packaged', a run folder, a "
        "checkpoint, or a published model's folder. It must have all of this model's shared tensors but the style's.",
    )

    @model_validator(mode="after")
    def _shares_something(self) -> ModelConfig:
        if self.frozen is not None and not self.style_rank:
            raise ValueError(
                "model.frozen leaves nothing to share: raise model.style_rank above 0, or leave model.frozen out"
            )
        return self


ADAPTATION_FIELDS = ("personal", "layers", "rank", "alpha", "bottleneck")


class SpeakerConfig(Section):
    """What a voice is made of, and which of it is personal."""

    sources: tuple[str, ...] = Field(
        ("table", "mel_style"),
        description="Added up into one speaker embedding (E,): 'table' has an embedding for each voice, 'mel_style' "
        "hears a reference recording; docs/voices.md describes all of them.",
    )
    encoders: dict[str, str] = Field(
        default_factory=dict,
        description="Files of trained encoders, by source, as d_vector = 'encoder.safetensors'. Such an encoder is "
        "frozen, unless 'joint' names it.",
    )
    joint: tuple[str, ...] = Field(
        (), description="Sources whose encoder comes from a file and goes on training with the model."
    )
    classification_weight: float = Field(
        0.0,
        ge=0,
        description="Centralised training: weight of a classification of the speakers by what is heard of them.",
    )
    content_confusion: float = Field(
        0.0,
        ge=0,
        description="Centralised training: weight of an adversary that reads in what is heard which phonemes the "
        "reference held; the sources learn to confuse it. It needs alignments.",
    )
    conditioning: str = Field(
        "cln",
        description="How a voice acts on the model: 'cln' adds the embedding to the encoder's output, and scales and "
        "shifts the decoder's last layer norms; 'saln' scales and shifts every norm of encoder and decoder; 'add' adds "
        "the embedding to the encoder's output; 'concat' puts it beside each of its steps.",
    )
    norms: tuple[Place, ...] | None = Field(
        None,
        min_length=1,
        description="Whose norms 'cln' and 'saln' act on; the decoder's, and encoder's and decoder's, by default.",
    )
    projection: Literal["none", "mlp"] = Field(
        "none",
        description="'mlp': what each source says goes through two layers of its own before it is added up.",
    )
    personal: str = Field(
        "vectors",
        description="'vectors': the CLN scale and shift vectors themselves, at most 5,000 numbers a voice; "
        "'maps': maps from the embedding to them, which are added to everybody's; 'none': nothing; 'embedding': the "
        "speaker embedding; 'variance_norms': scale and shift of the variance predictors' norms; 'lora': low-rank "
        "changes of matrices; 'adapters': bottlenecks behind sublayers; 'masks': which weights of everybody's to use; "
        "'whole': every layer. Several are joined by +, as in 'vectors+lora'.",
    )
    layers: tuple[Site, ...] | None = Field(
        None,
        min_length=1,
        description="Where 'lora', 'adapters', 'masks' and 'whole' change layers; the kind's own sites by default.",
    )
    rank: int = Field(4, ge=1, description="Rank of 'lora'.")
    alpha: float = Field(
        1.0, gt=0, description="Of 'lora', whose product is multiplied by alpha / rank: how fast it moves."
    )
    bottleneck: int = Field(4, ge=1, description="Width of 'adapters'.")
    learned_rates: float | None = Field(
        None,
        gt=0,
        description="Meta-learning: client.inner_lr is multiplied by so much at first for each number of a voice, and "
        "the outer loop learns a factor for each; null: one rate for all.",
    )
    reference_frames: int = Field(
        160, ge=16, description="Longest reference that the encoder reads in training."
    )
    reference_dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of training references left out, which teaches a voice of nobody."
    )
    row_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Centralised training: share of utterances whose speaker's own row is left out, so that the "
        "reference encoder must carry the voice.",
    )

    @property
    def adaptation(self) -> dict[str, Any]:
        """The fields that say which numbers a voice of a base has: all that a profile needs to tell of them."""
        return self.model_dump(mode="json", include=set(ADAPTATION_FIELDS))

    @field_validator("sources")
    @classmethod
    def _known_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(sources)) < len(sources):
            raise ValueError("a source is named twice: name each once")
        return tuple(known(source, SOURCES, "source of the speaker embedding") for source in sources)

    @field_validator("conditioning")
    @classmethod
    def _known_conditioning(cls, conditioning: str) -> str:
        return known(conditioning, CONDITIONINGS, "conditioning")

    @field_validator("personal")
    @classmethod
    def _known_adaptation(cls, personal: str) -> str:
        return "+".join(kinds_of(personal))


class AlignerConfig(Section):
    """How durations are found for recordings that come without an alignment."""

    learn: Literal["auto", "always", "never"] = Field(
        "auto", description="'auto' learns an aligner where a corpus brings no alignments."
    )
    warmup_rounds: int = Field(0, ge=0, description="First rounds that train the aligner alone.")
    binarization_weight: float = Field(0.1, ge=0)
    forward_sum_weight: float = Field(0.1, ge=0)
