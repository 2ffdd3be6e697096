"""What a device's owner allows. The policy limits what a server can ask of the device.

A policy is TOML; the default of every field protects. ``refusal`` judges what a recipe asks for before anything is
trained or spent. When and where a device works is judged by :mod:`client.live.conditions`.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterable
from datetime import time as clock_time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from client.learning.personal_terms import PersonalTerms
from shared_models.config import Recipe
from shared_models.device_name import DeviceName, Precision
from shared_models.errors import RecipeError
from shared_models.file_names import is_harmless
from shared_models.model_config import PACKAGED
from shared_models.partition import SharedTensor
from shared_models.shown_text import shown

Mode = Literal["none", "central"]
_SHAPED = re.compile(r"^(?P<name>\S+)(?:\s*\(\s*(?P<shape>[\d\s,]*)\))?$")
_HOURS = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$")


class Policy(BaseModel):
    """``policy.toml``. What is left out has the default that is written here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modes: tuple[Mode, ...] = Field(
        ("central",), description="Privacy modes to take part in; 'none' sends an update without any noise."
    )
    minimum_noise_multiplier: float = Field(
        0.3, gt=0, description="Least noise on the sum, over the clipping norm, in mode central."
    )
    maximum_clipping_norm: float = Field(10.0, gt=0, description="Largest norm of what is sent.")
    total_epsilon: float = Field(
        20.0, gt=0, description="Budget of a person over everything ever sent from this device, at delta."
    )
    epsilon_per_run: float = Field(
        10.0, gt=0, description="The most that one run may cost in all its rounds."
    )
    total_epsilon_without_sampling: float = Field(
        100.0,
        gt=0,
        description="The same budget where no coin of a server is believed: every answer ever sent at its full cost.",
    )
    minimum_cohort: int = Field(
        4,
        ge=1,
        description="Fewest people that a round may expect, in mode central; noise is made for their sum.",
    )
    maximum_answers_per_run: int = Field(
        500, ge=1, description="Answers to one run, each question counted once."
    )
    minimum_batch: int = Field(
        4, ge=1, description="Fewest utterances that a local step may be made of, if there are so many."
    )
    maximum_learning_rate: float = Field(
        0.1,
        gt=0,
        description="Largest learning rate of a local step; Adam moves a number by about as much a step.",
    )
    maximum_step_norm: float = Field(
        1.0,
        gt=0,
        description="For plain SGD, in Adam's place: client.outer_lr times client.gradient_clip.",
    )
    weights_reach: float = Field(
        1.0,
        ge=0,
        description="How far the weights that come may be from what training makes of those that are known here, in "
        "multiples of what was measured; 0 does not look.",
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="The delta at which both are counted.")
    allowed_shared: tuple[str, ...] = Field(
        (),
        description="What may be sent: patterns of names, each with a shape in parentheses if that is fixed, as in "
        "'decoder.*' or 'mel.weight (80, 64)'; empty for all that the installed model declares shared.",
    )
    maximum_numbers: int = Field(
        100_000_000, ge=1, description="Largest number of coordinates of an update (memory and traffic)."
    )
    maximum_local_steps: int = Field(500, ge=1, description="Training steps that a round may ask for.")
    personal_privacy_required: bool = Field(
        False, description="Train the voice that stays here with DP-SGD too, or not at all."
    )
    outbox_megabytes: float = Field(
        500.0,
        gt=0,
        description="Disk for answers that may be asked for again; the oldest go, and are never trained again.",
    )
    personal_epsilon: float = Field(
        8.0,
        gt=0,
        description="Budget of each of your utterances over all private training of your voice on this computer, "
        "at personal_delta; it holds whatever the recipe says.",
    )
    personal_delta: float = Field(1e-3, gt=0, lt=1, description="The delta at which that is counted.")
    personal_minimum_noise_multiplier: float = Field(
        0.5, gt=0, description="Least noise of that training, over the clipping norm; it holds likewise."
    )
    hours: str = Field("", description="Local time in which to train, as in '22:00-07:00'; empty for always.")
    only_when_charging: bool = Field(False, description="Train on external power only.")
    only_when_idle: bool = Field(False, description="Train only while the computer has little else to do.")
    metered_network_ok: bool = Field(True, description="Train also on a network that costs by the byte.")
    cpu_threads: int | None = Field(
        None, ge=1, description="At most so many CPU threads; the recipe's if empty."
    )
    device: DeviceName = Field(
        "auto", description="Where to train: cpu, cuda, cuda:N, mps, or auto, which takes what is there."
    )
    precision: Precision = Field(
        "float32", description="bfloat16 is faster on most GPUs; weights and noise stay float32 and wider."
    )
    gpu_share: float = Field(1.0, gt=0, le=1, description="Largest share of a GPU's memory.")

    @field_validator("hours")
    @classmethod
    def _a_span(cls, hours: str) -> str:
        if hours and not _HOURS.match(hours):
            raise ValueError("write two times of day, as in 22:00-07:00")
        return hours

    @field_validator("allowed_shared")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not _SHAPED.match(pattern):
                raise ValueError(
                    f"'{pattern}' is no pattern: write a name, and a shape in parentheses after it"
                )
        return patterns

    def refusal(self, recipe: Recipe) -> str | None:
        """Why a round of ``recipe`` is declined, with the policy's field and both values; None if it is not.

        The epsilons are judged by :mod:`client.home.spending`, and what is sent by :meth:`refusal_of_shared`.
        """
        privacy = recipe.privacy
        if privacy.mode not in self.modes:
            return _differs(
                "modes", f"privacy mode '{privacy.mode}'", " and ".join(self.modes) or "none at all"
            )
        if privacy.mode == "central":
            if privacy.noise_cohort is not None:
                return (
                    f"policy minimum_noise_multiplier: the recipe's privacy.noise_cohort {privacy.noise_cohort} "
                    "scales the noise down to people who are not there"
                )
            if privacy.clipping_norm > self.maximum_clipping_norm:
                asked = f"clipping norm {privacy.clipping_norm:g}"
                return _differs("maximum_clipping_norm", asked, f"at most {self.maximum_clipping_norm:g}")
        if recipe.algorithm.sends_personal:
            return (
                f"policy allowed_shared: algorithm '{recipe.federation.algorithm}' sends personal parameters, which "
                "stay on this device"
            )
        if not recipe.algorithm.federates:
            return (
                f"algorithm '{recipe.federation.algorithm}' sends nothing, so that no server needs an answer"
            )
        if reason := _refusal_of_places(recipe):
            return reason
        if reason := self._refusal_of_steps(recipe):
            return reason
        return self._refusal_of_personal(recipe) if self.personal_privacy_required else None

    def _refusal_of_steps(self, recipe: Recipe) -> str | None:
        client, vocoder = recipe.client, recipe.vocoder
        steps = recipe.algorithm.local_steps(recipe)
        if steps > self.maximum_local_steps:
            return _differs(
                "maximum_local_steps", f"{steps} steps a round", f"at most {self.maximum_local_steps}"
            )
        trains_vocoder = recipe.trains == "vocoder"
        batch = vocoder.batch_size if trains_vocoder else client.batch_size
        if batch < self.minimum_batch:
            return _differs("minimum_batch", f"{batch} utterances a step", f"at least {self.minimum_batch}")
        if trains_vocoder:
            rates = {
                "vocoder.generator_lr": vocoder.generator_lr,
                "vocoder.discriminator_lr": vocoder.discriminator_lr,
            }
        else:
            rates = {"client.inner_lr": client.inner_lr}
            # Meta-learning adapts by plain SGD, whatever the outer loop is.
            by_sgd = [client.inner_lr] if recipe.algorithm.adapts_by_sgd else []
            if client.outer_optimizer == "adam":
                rates["client.outer_lr"] = client.outer_lr
            else:
                by_sgd.append(client.outer_lr)
            if (norm := max(by_sgd, default=0.0) * client.gradient_clip) > self.maximum_step_norm:
                return _differs(
                    "maximum_step_norm", f"steps of norm {norm:g}", f"at most {self.maximum_step_norm:g}"
                )
        for name, rate in rates.items():
            if rate > self.maximum_learning_rate:
                return _differs(
                    "maximum_learning_rate", f"{name} {rate:g}", f"at most {self.maximum_learning_rate:g}"
                )
        return None

    def refusal_of_cohort(self, recipe: Recipe, population: int | None) -> str | None:
        """Why so few people a round are too few; None if they are enough. Mode central only.

        ``population`` is what the server draws from, of whom no more than all can be in a cohort.
        """
        expected = (
            recipe.federation.cohort if population is None else min(recipe.federation.cohort, population)
        )
        if expected >= self.minimum_cohort:
            return None
        return _differs(
            "minimum_cohort", f"{expected} expected people a round", f"at least {self.minimum_cohort}"
        )

    def _refusal_of_personal(self, recipe: Recipe) -> str | None:
        """Why the training of what stays here is not the DP-SGD that this policy requires; None if it is."""
        field, personal = "personal_privacy_required", recipe.personal_privacy
        if recipe.trains == "vocoder":
            return _differs(
                field, "trains = 'vocoder', whose discriminators stay here without noise", "DP-SGD"
            )
        if recipe.algorithm.trains_voice_without_noise:
            asked = f"algorithm '{recipe.federation.algorithm}', which trains the voice without noise"
            return _differs(field, asked, "DP-SGD")
        if not personal.enabled:
            return _differs(field, "personal_privacy.enabled = false", "true")
        noise, least = personal.noise_multiplier, self.personal_minimum_noise_multiplier
        if noise is not None and noise < least:
            asked = f"personal_privacy.noise_multiplier {noise:g}"
            return _differs("personal_minimum_noise_multiplier", asked, f"at least {least:g}")
        return None

    def personal_terms(self, recipe: Recipe) -> PersonalTerms:
        """What the noise of the inner loop is made for: the recipe's epsilon if it asks for less than the owner's.

        The clipping norm stays the recipe's: noise is relative to it, so that no epsilon depends on it.
        """
        asked = recipe.personal_privacy.epsilon
        epsilon = self.personal_epsilon if asked is None else min(asked, self.personal_epsilon)
        return PersonalTerms(epsilon, self.personal_delta, self.personal_minimum_noise_multiplier)

    def refusal_of_noise(self, noise_multiplier: float) -> str | None:
        """Why this much noise on the sum is too little; None if it is enough."""
        if noise_multiplier >= self.minimum_noise_multiplier:
            return None
        asked = f"noise multiplier {noise_multiplier:g}"
        return _differs("minimum_noise_multiplier", asked, f"at least {self.minimum_noise_multiplier:g}")

    def refusal_of_shared(self, asked: Iterable[SharedTensor], own: Iterable[SharedTensor]) -> str | None:
        """Why a set of tensors may not be sent; None if all may. ``own`` is what this model declares shared."""
        declared = {tensor.name: tensor.shape for tensor in own}
        numbers = 0
        for tensor in asked:
            numbers += tensor.stop - tensor.start
            if declared.get(tensor.name) != tensor.shape:
                return f"policy allowed_shared: '{tensor.name}' is personal or unknown here, and stays on this device"
            if self.allowed_shared and not any(_matches(pattern, tensor) for pattern in self.allowed_shared):
                what = f"'{tensor.name}' of shape {tensor.shape}"
                return _differs("allowed_shared", what, ", ".join(self.allowed_shared))
        if numbers > self.maximum_numbers:
            return _differs("maximum_numbers", f"{numbers} coordinates", f"at most {self.maximum_numbers}")
        return None

    def within_hours(self, now: clock_time) -> bool:
        """Whether ``now`` lies in the owner's hours, which may go over midnight."""
        found = _HOURS.match(self.hours)
        if found is None:
            return True
        begin = clock_time(int(found[1]), int(found[2]))
        end = clock_time(int(found[3]), int(found[4]))
        return begin <= now < end if begin < end else now >= begin or now < end


def load_policy(path: Path) -> Policy:
    """Read a policy; the defaults if there is no such file. Raises :class:`RecipeError` for a wrong field."""
    try:
        return Policy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Policy()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the policy {path} ({error}): nothing is trained without it") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            raise RecipeError(f"{path}: there is no policy field '{field}'; see docs/device.md") from None
        said = problem["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{path}: '{field}': {said} (got {problem['input']!r})") from None


def as_toml(policy: Policy) -> str:
    """A policy with every field and what it means, to be edited by its owner."""
    lines = ["# What this device's owner allows. The server cannot change it.", ""]
    for name, field in Policy.model_fields.items():
        value = getattr(policy, name)
        lines.append(f"# {field.description}")
        lines.append(f"# {name} = " if value is None else f"{name} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def _refusal_of_places(recipe: Recipe) -> str | None:
    """Why a recipe is declined that names places on this device."""
    for field, files in (
        ("speaker.encoders", recipe.speaker.encoders),
        ("losses.judge", recipe.losses.judge),
    ):
        if elsewhere := [file for file in files.values() if not is_harmless(file)]:
            return (
                f"the recipe's {field} names '{shown(elsewhere[0])}', a place on this device: a server may name a file "
                "of the owner's folder of encoders by its name alone"
            )
    if recipe.model.frozen not in (None, PACKAGED):
        return (
            f"the recipe's model.frozen names '{shown(str(recipe.model.frozen))}', a place on this device: a server "
            "may name the base that ships, 'packaged'"
        )
    return None


def _differs(field: str, asked: str, allowed: str) -> str:
    return f"policy {field}: the recipe asks for {asked}, this device allows {allowed}"


def _matches(pattern: str, tensor: SharedTensor) -> bool:
    found = _SHAPED.match(pattern)
    if found is None or not fnmatch.fnmatchcase(tensor.name, found["name"]):
        return False
    if found["shape"] is None:
        return True
    return tuple(int(part) for part in found["shape"].split(",") if part.strip()) == tuple(tensor.shape)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            return f"{value}"
