"""The recipe: one validated description that drives a simulation, a live federation and a local clone.

A recipe is TOML, checked field by field; an unknown field or a wrong type is one clear sentence. Any
field can be overridden by its dotted path (``federation.rounds=3``), on the command line with ``--set``
and, for the arms that a simulation compares, in the recipe's own ``[arms.NAME]`` tables.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from shared_models.algorithms import ALGORITHMS, DEFAULT
from shared_models.algorithms.algorithm import Algorithm, Sends
from shared_models.audio.signals import SIGNALS
from shared_models.compression_config import CompressionConfig as CompressionConfig
from shared_models.device_name import DeviceName, Precision
from shared_models.errors import RecipeError
from shared_models.federation_config import SCHEDULE
from shared_models.federation_config import FederationConfig as FederationConfig
from shared_models.kinds import known
from shared_models.recipe_section import Section
from shared_models.speakers.adaptation import ADAPTATIONS
from shared_models.speakers.conditioning import CONDITIONINGS
from shared_models.speakers.sources import SOURCES
from shared_models.vocoder_config import VocoderConfig as VocoderConfig

UNPROTECTED = "unprotected"
NOTHING_SENT = "nothing sent"


class CorpusConfig(Section):
    """Which speakers take part, and how much of each."""

    path: str = Field("embedded", description="'embedded' for the packaged voices, or a folder or CSV.")
    layout: Literal["auto", "embedded", "csv", "folder", "ljspeech", "vctk", "libritts", "aishell3"] = Field(
        "auto", description="How the corpus is laid out; 'auto' recognises it."
    )
    speakers: int | None = Field(None, ge=1, description="At most so many train speakers; all by default.")
    test_speakers: int | None = Field(None, ge=1, description="At most so many unseen speakers.")
    only: str = Field(
        "*", description="Train speakers whose id matches, as 'k_*'; unseen ones are not chosen by it."
    )
    utterances: int | None = Field(None, ge=2, description="At most so many utterances a train speaker.")
    min_seconds: float = Field(0.8, gt=0, description="Shorter recordings are left out (seconds).")
    max_seconds: float = Field(14.0, gt=0, description="Longer recordings are left out (seconds).")


class FeatureConfig(Section):
    """What is computed from audio. The mel itself is HiFi-GAN's and has no settings."""

    trim_silence: bool = Field(True, description="Cut leading and trailing silence down to 50 ms.")
    level_dbfs: float | None = Field(-24.0, description="Bring speech to this RMS level; null leaves it.")
    signals: tuple[str, ...] = Field(
        (), description="What is kept of a recording beside its mel, for sources that hear it: 'wave'."
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


class SpeakerConfig(Section):
    """What a voice is made of, and which of it is personal."""

    sources: tuple[str, ...] = Field(
        ("table", "mel_style"),
        description="Added up into one speaker embedding (E,): 'table' has an embedding for each voice, 'mel_style' "
        "hears a reference recording.",
    )
    conditioning: str = Field(
        "cln",
        description="How a voice acts on the model: 'cln' adds the embedding to the encoder's output, and scales and "
        "shifts the decoder's last layer norms.",
    )
    personal: str = Field(
        "vectors",
        description="'vectors': the CLN scale and shift vectors themselves, at most 5,000 numbers a voice; "
        "'maps': maps from the embedding to them, which are added to everybody's.",
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
        return known(personal, ADAPTATIONS, "personal set")


class AlignerConfig(Section):
    """How durations are found for recordings that come without an alignment."""

    learn: Literal["auto", "always", "never"] = Field(
        "auto", description="'auto' learns an aligner where a corpus brings no alignments."
    )
    warmup_rounds: int = Field(0, ge=0, description="First rounds that train the aligner alone.")
    binarization_weight: float = Field(0.1, ge=0)
    forward_sum_weight: float = Field(0.1, ge=0)


class PretrainingConfig(Section):
    """Centralised training on public speech before the first round; every arm starts from its weights."""

    start: str | None = Field(
        None,
        description="A base to start from instead of random weights: 'packaged', a run folder, a checkpoint, or a "
        "published model's folder. It must have all of this model's shared tensors.",
    )
    steps: int = Field(0, ge=0, description="0 leaves the weights as they start.")
    corpus: str = Field(
        "embedded", description="Public speech: 'embedded' for the packaged synthetic voices."
    )
    only: str = Field("*", description="Its speakers whose id matches; none of them may also be a client.")
    aligner_steps: int = Field(0, ge=0, description="First steps that train the aligner alone.")
    lr: float = Field(1e-3, gt=0)
    batch_size: int = Field(6, ge=1)


class ClientConfig(Section):
    """The device's side of a round."""

    inner_steps: int = Field(3, ge=0, description="Steps on the personal set, on support utterances.")
    inner_lr: float = Field(0.02, gt=0, description="Adam on the personal set.")
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


class CloningConfig(Section):
    """How a newcomer's voice is cloned from a few utterances."""

    support: int = Field(5, ge=1, description="Utterances to clone from.")
    steps: int = Field(60, ge=0, description="Adaptation steps on the personal set; 0 is zero-shot.")
    lr: float = Field(0.02, gt=0)
    local_steps: int = Field(
        60, ge=1, description="Steps on the whole model where a device trains alone (algorithm 'local')."
    )


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
        "float32", description="bfloat16: products within forward passes; weights and privacy stay float32."
    )


class Recipe(Section):
    """Everything that determines a run."""

    name: str = "unnamed"
    description: str = ""
    seed: int = 1
    trains: Literal["acoustic", "vocoder"] = Field(
        "acoustic",
        description="What a federation trains; a vocoder's generator is shared, its discriminators stay.",
    )
    corpus: CorpusConfig = CorpusConfig()
    features: FeatureConfig = FeatureConfig()
    model: ModelConfig = ModelConfig()
    speaker: SpeakerConfig = SpeakerConfig()
    aligner: AlignerConfig = AlignerConfig()
    pretraining: PretrainingConfig = PretrainingConfig()
    federation: FederationConfig = FederationConfig()
    client: ClientConfig = ClientConfig()
    compression: CompressionConfig = CompressionConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    personal_privacy: PersonalPrivacyConfig = PersonalPrivacyConfig()
    cloning: CloningConfig = CloningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    vocoder: VocoderConfig = VocoderConfig()
    engine: EngineConfig = EngineConfig()
    arms: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Variants to compare: name, then dotted path = value."
    )

    @model_validator(mode="after")
    def _private_rounds(self) -> Recipe:
        # Central noise is calibrated to a sum in which one person weighs clipping_norm and no more.
        if self.privacy.mode == "none":
            return self
        if self.federation.aggregation != "mean":
            raise ValueError(
                f"federation.aggregation '{self.federation.aggregation}' cannot be combined with central privacy, "
                "because one person can move it by more than the clipping_norm that the noise is made for: use "
                "'mean', or privacy.mode = 'none'"
            )
        if self.federation.over_sampling > 1:
            raise ValueError(
                "federation.over_sampling cannot be combined with central privacy, because a slow person's place goes "
                "to another, which moves the sum by twice the clipping_norm: raise federation.cohort instead"
            )
        return self

    @property
    def algorithm(self) -> Algorithm:
        """What ``federation.algorithm`` names."""
        return ALGORITHMS[self.federation.algorithm]

    def refuse_without_updates(self) -> None:
        """Raise :class:`RecipeError` if nothing is sent under the algorithm, so that there is nothing to federate."""
        if self.algorithm.federates:
            return
        others = ", ".join(name for name, kind in ALGORITHMS.items() if kind.federates)
        raise RecipeError(
            f"federation.algorithm '{self.federation.algorithm}' sends no updates to a server: choose among {others}"
        )

    def keeping_voices(self) -> Recipe:
        """The recipe with which the personal set stays on the device: this one, unless its algorithm sends that."""
        if not self.algorithm.shares_everything:
            return self
        return self.override({"federation.algorithm": DEFAULT})

    @property
    def protection(self) -> str:
        """What protects the people in what is sent, in a word: the privacy mode, or ``unprotected``.

        Without a privacy mode there is no epsilon; it is not 0 but without bound.
        """
        if self.algorithm.sends is Sends.NOTHING:
            return NOTHING_SENT
        return UNPROTECTED if self.privacy.mode == "none" else self.privacy.mode

    def same_run_as(self, other: Recipe) -> bool:
        """Whether both differ in nothing but the schedule, which an operator may change during a run."""
        apart = {name: getattr(self.federation, name) for name in SCHEDULE}
        return self == other.model_copy(update={"federation": other.federation.model_copy(update=apart)})

    @property
    def digest(self) -> str:
        """A hash of everything above: runs with equal digests and equal data give equal weights."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def override(self, changes: Mapping[str, Any]) -> Recipe:
        """A copy with the fields at the given dotted paths replaced; raises :class:`RecipeError`."""
        data = self.model_dump(mode="json")
        for path, value in changes.items():
            _assign(data, path, value)
        return parse_recipe(data, where="override")

    def arm(self, name: str) -> Recipe:
        """The recipe of one arm, without the other arms."""
        if name not in self.arms:
            raise RecipeError(
                f"recipe '{self.name}' has no arm '{name}'; it has {', '.join(self.arms) or 'none'}"
            )
        chosen = self.override(self.arms[name])
        return chosen.model_copy(update={"arms": {}})


def delta_problem(delta: float, population: float) -> str:
    """Why ``delta`` does not do for so many people."""
    return (
        f"privacy.delta {delta:g} is not below one over the population of {population:g}, so that publishing one "
        f"person outright would be allowed: set privacy.delta to {default_delta(population):g} or less"
    )


def default_delta(population: float) -> float:
    """The largest power of ten that is at most a tenth of one over the population."""
    return float(f"1e{-1 - math.ceil(math.log10(population) - 1e-9)}")


def parse_recipe(data: Mapping[str, Any], *, where: str) -> Recipe:
    """Validate a recipe given as plain data; ``where`` names its source in the error."""
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_first_problem(error)}") from None
    for name in recipe.arms:
        try:
            changed = recipe.model_dump(mode="json") | {"arms": {}}
            for path, value in recipe.arms[name].items():
                _assign(changed, path, value)
            Recipe.model_validate(changed)
        except ValidationError as error:
            raise RecipeError(f"{where}: arm '{name}': {_first_problem(error)}") from None
    return recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply ``a.b=c`` overrides (values in TOML's notation, or bare words)."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from None
    recipe = parse_recipe(data, where=str(path))
    return recipe.override(dict(parse_override(text) for text in overrides))


def parse_override(text: str) -> tuple[str, Any]:
    """``a.b=c`` as a dotted path and a value: TOML's notation, or else the bare string."""
    path, separator, value = text.partition("=")
    if not separator or not path.strip():
        raise RecipeError(f"--set takes path=value, as in federation.rounds=3, and not '{text}'")
    try:
        return path.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path.strip(), None if value.strip() == "null" else value.strip()


def recipe_from_json(text: str) -> Recipe:
    """The recipe that a message or a run folder carries."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecipeError(f"the recipe is not valid JSON: {error}") from None
    return parse_recipe(data, where="recipe")


def _assign(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        child = data.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"'{path}' goes through '{parent}', which is a single value")
        data = child
    data[leaf] = value


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "the recipe"
    if problem["type"] == "extra_forbidden":
        return f"unknown field '{field}'; `fedvoice simulate --explain` lists every field"
    said = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], Mapping):  # fields that contradict each other: the sentence names them
        return f"'{field}': {said}"
    return f"'{field}': {said} (got {problem['input']!r})"
