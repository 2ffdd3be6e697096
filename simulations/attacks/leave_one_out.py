"""Leave one utterance out of a private training step: how far does the sum move that the noise is to hide?

DP-SGD's noise is made for a sum of clipped gradients that one utterance moves by at most the clipping norm C. That
holds only where each gradient depends on its own utterance. Here the same step is taken with and without one
utterance, on the real model, and the change is measured before the noise: as shipped, through
``client.cloning.adapt_privately``, and with the couplings put back in that a batch brings along.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from client.cloning import adapt_privately
from client.home.ledger import Ledger
from client.learning.dp_sgd import PrivateOptimizer, make_private
from client.learning.private_adaptation import only_personal_trains
from shared_models.accounting import SampledGaussian, epsilon_of, noise_multiplier_for
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.cache import FeatureCache
from shared_models.config import CorpusConfig, Recipe
from shared_models.errors import AudioError, CorpusError
from shared_models.features import Batch, Features, collate
from shared_models.losses import acoustic_loss
from shared_models.seeds import derive_seed
from simulations.corpora import open_corpus
from simulations.preparation import default_cache

SHIPPED = "as shipped"
COUPLED = "dropout and windows drawn for the batch"
UNALIGNED = "all aligned anew where one has no alignment"
TOLERANCE = 1e-5
"""Of C: what rounding in float32 sums may add."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """One step with and without an utterance."""

    way: str
    speaker: str
    utterances: int
    left_out: int
    """Its place among them."""
    moved: float
    """Norm of the change of the summed clipped gradient, over C."""


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """All pairs, and what the worst of each way means."""

    pairs: list[Pair]
    epsilon: float
    """What one step is planned to cost an utterance, at ``delta``."""
    delta: float
    noise_multiplier: float
    """The noise for that, over C."""

    def worst(self, way: str) -> float:
        """The largest movement over C."""
        return max(pair.moved for pair in self.pairs if pair.way == way)

    def true_epsilon(self, way: str) -> float:
        """The exact epsilon of one step at the planned noise whose sum moves as far as the worst did."""
        noise = self.noise_multiplier / max(self.worst(way), TOLERANCE)
        return epsilon_of([SampledGaussian(noise, 1.0)], self.delta)


def leave_one_out(
    model: VoicePartition,
    recipe: Recipe,
    speakers: Mapping[str, Sequence[Features]],
    *,
    epsilon: float = 8.0,
    delta: float = 1e-3,
    clipping_norm: float = 1.0,
    progress: Progress | None = None,
) -> LeaveOneOut:
    """Leave the first, the middle and the last utterance of each speaker out, one at a time, in every way."""
    pairs: list[Pair] = []
    step = recipe.override(
        {
            "personal_privacy.enabled": True,
            "personal_privacy.epsilon": epsilon,
            "personal_privacy.noise_multiplier": None,
            "personal_privacy.delta": delta,
            "personal_privacy.clipping_norm": clipping_norm,
            "cloning.steps": 1,
            "client.batch_size": max(len(own) for own in speakers.values()),
        }
    )
    for done, (speaker, own) in enumerate(speakers.items(), start=1):
        for way, takes in ((SHIPPED, shipped_sum), (COUPLED, coupled_sum)):
            whole = takes(model, own, step)
            for place in sorted({0, len(own) // 2, len(own) - 1}):
                rest = [utterance for index, utterance in enumerate(own) if index != place]
                pairs.append(_pair(way, speaker, own, place, whole, takes(model, rest, step), step))
        # The last one brings no alignment, the others bring one that is not the aligner's.
        mixed = [
            *(_aligned_by_hand(model, utterance) for utterance in own[:-1]),
            replace(own[-1], durations=None),
        ]
        for way, takes in ((SHIPPED, shipped_sum), (UNALIGNED, _all_aligned_anew)):
            whole, without = takes(model, mixed, step), takes(model, mixed[:-1], step)
            pairs.append(_pair(way, speaker, mixed, len(own) - 1, whole, without, step))
        if progress is not None:
            progress(done, len(speakers))
    return LeaveOneOut(pairs, epsilon, delta, noise_multiplier_for(epsilon, delta, 1.0, 1))


def speakers_of(
    corpus: str, recipe: Recipe, *, speakers: int, utterances: int, progress: Progress | None = None
) -> dict[str, list[Features]]:
    """So many unseen speakers of a corpus with so many usable utterances each. Raises :class:`CorpusError`."""
    found: dict[str, list[Features]] = {}
    cache = FeatureCache(default_cache())
    for speaker, own in open_corpus(CorpusConfig(path=corpus)).speakers("test").items():
        if len(own) < utterances:
            continue
        heard: list[Features] = []
        for utterance in own:
            with contextlib.suppress(AudioError):
                heard.append(cache.get(utterance, recipe.features))
            if len(heard) == utterances:
                found[speaker] = heard
                break
        if progress is not None:
            progress(len(found), speakers)
        if len(found) == speakers:
            break
    if not found:
        raise CorpusError(
            f"the corpus {corpus} has no unseen speaker with {utterances} usable utterances: ask for fewer"
        )
    return found


@contextlib.contextmanager
def sums_before_noise() -> Iterator[list[Tensor]]:
    """A list of the summed clipped gradients ``(P,)`` float64 of every private step within, before their noise."""
    seen: list[Tensor] = []
    add_noise = PrivateOptimizer.add_noise

    def watched(optimizer: PrivateOptimizer) -> None:
        seen.append(_summed(optimizer))
        add_noise(optimizer)

    PrivateOptimizer.add_noise = watched  # type: ignore[method-assign,assignment]
    try:
        yield seen
    finally:
        PrivateOptimizer.add_noise = add_noise  # type: ignore[method-assign]


def shipped_sum(model: VoicePartition, utterances: Sequence[Features], recipe: Recipe) -> Tensor:
    """The sum ``(P,)`` of the first step of a private cloning, from the code that clones."""
    personal = recipe.personal_privacy
    with TemporaryDirectory() as folder, sums_before_noise() as seen:
        ledger = Ledger(Path(folder) / "ledger.sqlite", personal.epsilon, personal.delta)
        adapt_privately(model, utterances, recipe, ledger)
    return seen[0]


def coupled_sum(model: VoicePartition, utterances: Sequence[Features], recipe: Recipe) -> Tensor:
    """The same sum where the model is in train mode on one batch, masks and windows drawn from a public seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "cloning dropout"))
        model.model.train()
        return _batched_sum(model, _together(utterances), recipe, window=recipe.client.window_frames)


def _all_aligned_anew(model: VoicePartition, utterances: Sequence[Features], recipe: Recipe) -> Tensor:
    """The sum of one batch that has no durations at all as soon as one utterance has none."""
    batch = _together(utterances)
    if not all(batch.aligned):
        batch = replace(batch, durations=None)
    model.model.eval()
    return _batched_sum(model, batch, recipe, window=None)


def _batched_sum(model: VoicePartition, batch: Batch, recipe: Recipe, window: int | None) -> Tensor:
    model.reset_personal()
    hooked, private = make_private(
        only_personal_trains(model),
        torch.optim.SGD(model.personal_parameters(), lr=1.0),
        noise_multiplier=1.0,
        clipping_norm=recipe.personal_privacy.clipping_norm,
        expected_batch=1.0,
        generator=None,
    )
    try:
        output = model.model(batch, window=window)
        losses = acoustic_loss(output, batch, per_utterance=True, weights=recipe.aligner).total
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            torch.autograd.backward(losses.sum())
        private.clip_and_accumulate()
        return _summed(private)
    finally:
        private.zero_grad()
        hooked.to_standard_module()


def _together(utterances: Sequence[Features]) -> Batch:
    return collate(utterances, references=None)


def _summed(optimizer: PrivateOptimizer) -> Tensor:
    return torch.cat([parameter.summed_grad.flatten().double() for parameter in optimizer.params])


@torch.no_grad()
def _aligned_by_hand(model: VoicePartition, utterance: Features) -> Features:
    """The utterance with an alignment that differs from the aligner's by a frame at every second boundary."""
    model.model.eval()
    durations = utterance.durations
    if durations is None:
        durations = model.model.align(_together([utterance])).durations[0]
    durations = durations.clone()
    for place in range(0, len(durations) - 1, 2):
        if durations[place] > 1:
            durations[place] -= 1
            durations[place + 1] += 1
    return replace(utterance, durations=durations)


def _pair(
    way: str,
    speaker: str,
    utterances: Sequence[Features],
    left_out: int,
    whole: Tensor,
    without: Tensor,
    recipe: Recipe,
) -> Pair:
    moved = float((whole - without).norm()) / recipe.personal_privacy.clipping_norm
    return Pair(way, speaker, len(utterances), left_out, moved)
