"""Trap weights: a server reads mel frames of a recording out of one clipped update.

The first layer of the reference encoder is given the same direction in every neuron and thresholds that lie ever
higher, so that each frame of the reference switches on the neurons up to its own place. What neighbouring neurons'
gradients differ by is then the sum over the frames between their thresholds, and where there is one frame alone,
weight gradient over bias gradient is that frame, exactly. Clipping divides both by the same number and takes nothing
away. Everything else is arranged so that little else is in the gradient: one step of plain SGD on one utterance, at a
learning rate beside which the weights themselves vanish.

Sources: Fowl 2022 (arXiv 2110.13057), the imprint block; Boenisch 2023 (arXiv 2112.02918), trap weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from client.home.policy import Policy
from client.learning.material import Material, draw_batch
from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.cache import FeatureCache
from shared_models.audio.normalisation import normalise_mel
from shared_models.base_model import packaged_base
from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.partition import PartitionedModel
from shared_models.seeds import generator
from shared_models.speakers.heard import MEL
from shared_models.utterance import Utterance
from simulations.attacks.lied_to import LIFTED, lied_to
from simulations.preparation import prepare

FRAMES = 64
"""Of the reference that a step hears."""
EXACT = 0.02
"""A frame counts as read if a vector lies within so much of its norm."""
SHARP = 400.0
"""Norm of a trap neuron's weights in the classical form: so steep that Mish is as good as a threshold."""
WITHIN_REACH = 2.5
"""The sharpest neurons that a device's check of the weights lets pass, about."""
_LAYER = "mel_style.spectral.0"
_POPULATION = 10_000
_OUTPUT_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class TrapWeights:
    """What came of one case, over all speakers."""

    case: str
    sharpness: float
    frames: int
    """True frames that the update was computed from."""
    read: int
    """Of these, frames that the server reads to within :data:`EXACT`."""
    read_under_noise: int
    """The same out of the update with the recipe's noise on it, this person alone in the cohort."""
    median_error: float
    """Over all frames: relative distance to the nearest vector that was read. Compare it with ``guess``."""
    guess: float
    """The same for as many frames of other people, which is what a server has without asking."""
    declined: dict[str, int]
    """Reasons of devices that sent nothing."""


def trap_weights(
    corpus: str = "embedded", speakers: int = 10, cache: Path | None = None, sharpness: float = SHARP
) -> list[TrapWeights]:
    """Attack so many speakers of ``corpus``, case by case. The thresholds are set by other speakers' speech alone."""
    people = _People.of(corpus, speakers, cache)
    return [people.attack(*case) for case in _cases(sharpness)]


def craft(model: VoicePartition, sharpness: float, speech: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The crafted shared set ``(D,)`` and the neurons' direction ``(80,)``.

    ``speech (N, 80)`` is normalised mel of anybody, from which the thresholds are taken; unit steps without it.
    """
    place = {tensor.name: tensor for tensor in model.partition.shared}
    weights = model.shared_vector().clone()

    def tensor_of(name: str) -> Tensor:
        found = place[name]
        return weights[found.start : found.stop].view(found.shape)

    rng = torch.Generator().manual_seed(3)
    neurons, bins = tensor_of(f"{_LAYER}.weight").shape
    direction = torch.randn(bins, generator=rng)
    direction /= direction.norm()
    parts = torch.linspace(0.005, 0.995, neurons)
    thresholds = parts * 4 - 2 if speech is None else torch.quantile((speech @ direction)[:200_000], parts)
    tensor_of(f"{_LAYER}.weight").copy_(sharpness * direction.expand(neurons, bins))
    tensor_of(f"{_LAYER}.bias").copy_(-sharpness * thresholds)
    for name in place:
        if name.startswith(("mel_style.temporal", "mel_style.attention", "mel_style.spectral.3")):
            tensor_of(name).zero_()
    # One channel carries the sum of all neurons on, always switched on and hardly moved by it.
    tensor_of("mel_style.spectral.3.weight")[0] = 1e-5
    tensor_of("mel_style.spectral.3.bias")[0] = 30.0
    output = tensor_of("mel_style.output.weight")
    output.zero_()
    output[:, 0] = _OUTPUT_SPREAD * torch.randn(len(output), generator=rng)
    tensor_of("mel_style.output.bias").copy_(torch.randn(len(output), generator=rng))
    return weights, direction


def read(update: Tensor, model: VoicePartition) -> Tensor:
    """The frames ``(n, 80)`` that an update ``(D,)`` gives away: one for neighbouring neurons that differ."""
    place = {tensor.name: tensor for tensor in model.partition.shared}
    weight, bias = place[f"{_LAYER}.weight"], place[f"{_LAYER}.bias"]
    slopes = update[weight.start : weight.stop].view(weight.shape).double()
    heights = update[bias.start : bias.stop].double()
    slopes = slopes - torch.cat([slopes[1:], torch.zeros(1, slopes.shape[1])])
    heights = heights - torch.cat([heights[1:], torch.zeros(1)])
    kept = heights.abs() > 1e-4 * heights.abs().max()
    return slopes[kept] / heights[kept, None]


_Case = tuple[str, Policy, Mapping[str, Any], float]

_TRAP: dict[str, Any] = {
    "federation.algorithm": "fedavg", "federation.sampling": "poisson", "federation.cohort": 50,
    "federation.rounds": 10, "federation.server_optimizer": "fedavg", "federation.server_lr": 1.0,
    "privacy.mode": "central", "privacy.noise_multiplier": 1.0, "privacy.clipping_norm": 10.0,
    "client.batch_size": 1, "client.outer_steps": 1, "client.inner_steps": 0, "client.outer_optimizer": "sgd",
    "client.outer_lr": 1e12, "client.gradient_clip": 1e15, "client.window_frames": None,
    "speaker.reference_dropout": 0.0, "speaker.reference_frames": FRAMES, "model.dropout": 0.0, "seed": 12345,
}  # fmt: skip
_WITHIN_FLOORS: dict[str, Any] = {"client.batch_size": 4, "client.outer_lr": 1.0, "client.gradient_clip": 1.0}


def _cases(sharpness: float) -> list[_Case]:
    """From no protection to all of it, each alone and together."""
    unchecked = Policy(weights_reach=0.0)
    return [
        ("no protection", LIFTED, {}, sharpness),
        ("batches of four, otherwise none", LIFTED, {"client.batch_size": 4}, sharpness),
        ("floors and ceilings alone, met", unchecked, _WITHIN_FLOORS, sharpness),
        ("weights within reach, otherwise none", LIFTED, {}, WITHIN_REACH),
        ("as shipped", Policy(), {}, sharpness),
        ("as shipped, floors met", Policy(), _WITHIN_FLOORS, sharpness),
    ]


@dataclass(frozen=True, slots=True)
class _People:
    """Those who are attacked, and the speech of others."""

    recipe: Recipe
    model: VoicePartition
    victims: Mapping[str, Sequence[Utterance]]
    others: Tensor
    """``(N, 80)`` normalised mel."""
    cache: Path

    @classmethod
    def of(cls, corpus: str, speakers: int, cache: Path | None) -> _People:
        base = packaged_base()
        wanted = {
            "corpus.path": corpus, "corpus.only": "*", "corpus.utterances": 8, "corpus.test_speakers": 1,
            "corpus.speakers": 2 * speakers, "aligner.learn": "always",
        }  # fmt: skip
        data = prepare(base.recipe.override(wanted), cache)
        recipe = data.recipe.override(_TRAP)
        model = PartitionedModel(build_model(recipe))
        model.load_shared_vector(base.model.shared_vector())
        names = list(data.train)
        kept = names[: max(1, min(speakers, len(names) // 2))]
        features = FeatureCache(data.cache)
        others = [
            normalise_mel(features.get(u, recipe.features).mel)
            for name in names[len(kept) :]
            for u in data.train[name][:3]
        ]
        return cls(recipe, model, {name: data.train[name] for name in kept}, torch.cat(others), data.cache)

    def attack(self, case: str, policy: Policy, changes: Mapping[str, Any], sharpness: float) -> TrapWeights:
        recipe = self.recipe.override(dict(changes))
        weights, _ = craft(self.model, sharpness, self.others)
        clear, noised, guessed, total, declined = [], [], [], 0, Counter[str]()
        rng = torch.Generator().manual_seed(11)
        for recordings in self.victims.values():
            with lied_to(recordings, self.cache, policy) as device:
                answer = device.ask(recipe, weights, 1, "trap", population=_POPULATION)
            truth = self._heard(recipe, recordings)
            total += len(truth)
            guesses = self.others[torch.randperm(len(self.others), generator=rng)[:FRAMES]].double()
            guessed += _errors(truth, guesses)
            if isinstance(answer, str):
                declined[answer] += 1
                continue
            clear += _errors(truth, read(answer, self.model))
            noise = recipe.privacy.clipping_norm * torch.randn(len(answer), generator=rng)
            noised += _errors(truth, read(answer + noise, self.model))
        return TrapWeights(
            case,
            sharpness,
            total,
            _exact(clear),
            _exact(noised),
            _median(clear),
            _median(guessed),
            dict(declined),
        )

    def _heard(self, recipe: Recipe, recordings: Sequence[Utterance]) -> Tensor:
        """The frames ``(n, 80)`` that the device's step heard as references: its draws are the recipe's."""
        features = FeatureCache(self.cache)
        utterances: list[Features] = [features.get(u, recipe.features) for u in recordings]
        material = Material.split(utterances, recipe.client.support_fraction)
        rng = generator(recipe.seed, "local", 1, 0)
        batch = draw_batch(material.query, recipe, rng)
        references = batch.heard.signals[MEL]
        rows = zip(references.values, references.lengths, strict=True)
        return torch.cat([normalise_mel(mel[: int(length)]) for mel, length in rows]).double()


def _errors(truth: Tensor, found: Tensor) -> list[float]:
    """For each true frame the relative distance to the nearest vector; infinite if there is none."""
    if not len(found):
        return [float("inf")] * len(truth)
    nearest = torch.cdist(truth, found.double()).min(1).values / truth.norm(dim=1)
    return [float(error) for error in nearest]


def _exact(errors: Sequence[float]) -> int:
    return sum(error < EXACT for error in errors)


def _median(errors: Sequence[float]) -> float:
    return float(torch.tensor(errors).median()) if errors else float("nan")


def lines(found: Sequence[TrapWeights]) -> Iterator[str]:
    """Each case's reasons, for people: most devices tell the same."""
    for row in found:
        for reason, count in row.declined.items():
            yield f"{row.case}: {count} declined: {reason}"
