"""The recipe: one validated description that drives a simulation, a live federation and a local clone.

A recipe is TOML, checked field by field; an unknown field or a wrong type is one clear sentence. Any
field can be overridden by its dotted path (``federation.rounds=3``), on the command line with ``--set``
and, for the arms that a simulation compares, in the recipe's own ``[arms.NAME]`` tables.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from shared_models.adversarial_config import AdversarialConfig as AdversarialConfig
from shared_models.adversarial_config import EpisodesConfig as EpisodesConfig
from shared_models.algorithms import ALGORITHMS, DEFAULT
from shared_models.algorithms.algorithm import Algorithm, Sends
from shared_models.augmentation_config import AugmentationConfig as AugmentationConfig
from shared_models.client_config import ClientConfig as ClientConfig
from shared_models.client_config import CloningConfig as CloningConfig
from shared_models.compression_config import CompressionConfig as CompressionConfig
from shared_models.corpus_config import CorpusConfig as CorpusConfig
from shared_models.corpus_config import PretrainingConfig as PretrainingConfig
from shared_models.encoder_config import EncoderConfig as EncoderConfig
from shared_models.errors import RecipeError
from shared_models.federation_config import SCHEDULE
from shared_models.federation_config import FederationConfig as FederationConfig
from shared_models.loss_config import LossConfig as LossConfig
from shared_models.model_config import AlignerConfig as AlignerConfig
from shared_models.model_config import FeatureConfig as FeatureConfig
from shared_models.model_config import ModelConfig as ModelConfig
from shared_models.model_config import SpeakerConfig as SpeakerConfig
from shared_models.privacy_config import PersonalPrivacyConfig as PersonalPrivacyConfig
from shared_models.privacy_config import PrivacyConfig as PrivacyConfig
from shared_models.privacy_config import default_delta as default_delta
from shared_models.privacy_config import delta_problem as delta_problem
from shared_models.recipe_section import Section
from shared_models.simulation_config import EngineConfig as EngineConfig
from shared_models.simulation_config import EvaluationConfig as EvaluationConfig
from shared_models.vocoder_config import VocoderConfig as VocoderConfig

UNPROTECTED = "unprotected"
NOTHING_SENT = "nothing sent"
PATHS = ("corpus.path", "pretraining.corpus", "pretraining.start", "evaluation.vocoder", "model.frozen")
"""Fields that may name a file or folder of whoever wrote the recipe."""


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
    losses: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    episodes: EpisodesConfig = EpisodesConfig()
    compression: CompressionConfig = CompressionConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    personal_privacy: PersonalPrivacyConfig = PersonalPrivacyConfig()
    cloning: CloningConfig = CloningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    vocoder: VocoderConfig = VocoderConfig()
    encoder: EncoderConfig = EncoderConfig()
    engine: EngineConfig = EngineConfig()
    arms: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Variants to compare: name, then dotted path = value."
    )

    @model_validator(mode="after")
    def _one_adversary(self) -> Recipe:
        if self.episodes.from_round is not None and self.adversarial.weight:
            raise ValueError(
                "episodes and adversarial both train discriminators beside the model: leave one of them out"
            )
        return self

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

    @model_validator(mode="after")
    def _trains_what_is_not_frozen(self) -> Recipe:
        if self.model.frozen is not None and self.aligner.warmup_rounds:
            raise ValueError(
                "aligner.warmup_rounds would train the aligner, which model.frozen freezes: set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _changes_spectra_alone(self) -> Recipe:
        if self.augmentation.share and "wave" in self.features.signals:
            raise ValueError(
                "augmentation changes spectra, and features.signals has 'wave', which would stay as it is: set "
                "augmentation.share to 0"
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

    def refuse_private_meta_learning(self) -> None:
        """Raise :class:`RecipeError` if DP-SGD is to protect voices in the inner loop of meta-learning."""
        if not (self.personal_privacy.enabled and self.algorithm.adapts_by_sgd):
            return
        raise RecipeError(
            f"personal_privacy.enabled cannot be combined with federation.algorithm '{self.federation.algorithm}', "
            "whose updates come from where steps without noise end, and from the gradients of those steps, which "
            "per-sample gradients have not: choose 'fedrep', or set personal_privacy.enabled = false"
        )

    def keeping_voices(self) -> Recipe:
        """The recipe with which the personal set stays on the device: this one, unless its algorithm sends that."""
        if not self.algorithm.shares_everything:
            return self
        return self.override({"federation.algorithm": DEFAULT})

    def for_cloning(self) -> Recipe:
        """The recipe of the model on which voices are cloned: what a clone trains is its personal set."""
        cloning, private = self.cloning, self.personal_privacy.enabled
        changes: dict[str, Any] = {}
        if private and cloning.private_adaptation is not None:
            changes["speaker.personal"] = cloning.private_adaptation
        elif cloning.adaptation is not None:
            changes["speaker.personal"] = cloning.adaptation
        if cloning.layers is not None:
            changes["speaker.layers"] = cloning.layers
        return self.override(changes) if changes else self

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

    def without_folders(self) -> Recipe:
        """The recipe as it is told to others: of paths on this machine, their last names alone."""
        told: dict[str, Any] = {}
        for path in PATHS:
            section, name = path.split(".")
            value = getattr(getattr(self, section), name)
            told[path] = value and Path(value).name
        told["speaker.encoders"] = {source: Path(path).name for source, path in self.speaker.encoders.items()}
        told["losses.judge"] = {kind: Path(path).name for kind, path in self.losses.judge.items()}
        return self.override(told)

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
    except (ValueError, RecursionError) as error:
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
