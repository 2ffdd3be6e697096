"""Cloning: a newcomer's voice from a few utterances, on the device, without any server.

Zero-shot, the reference encoder reads the support and that is all. Adapted, the personal set (embedding,
CLN scales and shifts, prosody) is then trained on the support with everything shared frozen: step 3 of a
round, alone. Either way the outcome is one :class:`Voice`, made to be given to others,
and so a release: it is in the owner's ledger before it exists, with its cost, or as one that nothing bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch

from client.home.ledger import Ledger
from client.learning.inner_loop import take_inner_steps
from client.learning.measured_prosody import with_measured_prosody
from client.learning.phases import LossOf, contested_loss, take_phase, training_loss
from client.learning.private_adaptation import NOTHING_TO_PROTECT, private_steps
from client.learning.reading import also_read
from client.task import Task
from shared_models.accelerator import Accelerator, seeded
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.cloning import CLONING
from shared_models.config import Recipe
from shared_models.errors import CorpusError, PrivacyError
from shared_models.features import Features, collate
from shared_models.judges import NOBODY, Judges
from shared_models.mel_adversary import MelAdversary
from shared_models.seeds import derive_seed, generator
from shared_models.speakers.adaptation import NOTHING
from shared_models.speakers.heard import Heard
from shared_models.speakers.voice import Voice

NO_PRIVATE_INNER_LOOP = (
    "this base adapts by the few plain steps that meta-learning trained it for, whose rates are made for gradients "
    "without noise: clone without DP-SGD, or train a base with cloning.optimizer = 'adam'"
)


@dataclass(frozen=True, slots=True)
class ClonedVoice:
    """A voice, and what is guaranteed of the recordings that it was made from."""

    voice: Voice
    privacy: dict[str, Any] | None = None
    """What may travel with the voice: nothing in it depends on the recordings. None if nothing is guaranteed."""


def clone(
    model: VoicePartition,
    support: Sequence[Features],
    recipe: Recipe,
    ledger: Ledger,
    *,
    judges: Judges = NOBODY,
    on_step: Callable[[int, int], None] | None = None,
) -> ClonedVoice:
    """Clone a voice as the recipe says: zero-shot (no steps), adapted, or adapted by DP-SGD.

    ``ledger`` is the owner's. What is made without DP-SGD is entered in it as unprotected. ``judges`` are the
    base's.
    """
    if recipe.personal_privacy.enabled:
        return adapt_privately(model, support, recipe, ledger, on_step=on_step)
    listens = recipe.cloning.steps == 0 or _trains_nothing(recipe)
    purpose = "zero-shot cloning" if listens else "cloning without DP-SGD"
    ledger.record_unprotected(run="clone", round_number=0, purpose=purpose)
    if listens:
        return ClonedVoice(zero_shot(model, support))
    return ClonedVoice(adapt(model, support, recipe, judges=judges, on_step=on_step))


def adapt_privately(
    model: VoicePartition,
    support: Sequence[Features],
    recipe: Recipe,
    ledger: Ledger,
    *,
    on_step: Callable[[int, int], None] | None = None,
    rng: torch.Generator | None = None,
) -> ClonedVoice:
    """Train a fresh personal set by DP-SGD, without references; the cost goes into ``ledger`` first.

    ``rng`` is a simulation's; None draws the noise from the operating system.
    Raises :class:`PrivacyError` where nothing is trained, and for a base that adapts by the steps of an inner loop.
    """
    if _trains_nothing(recipe):
        raise PrivacyError(NOTHING_TO_PROTECT)
    if recipe.cloning.optimizer == "sgd":
        raise PrivacyError(NO_PRIVATE_INNER_LOOP)
    model.reset_personal()
    task = Task(recipe, "clone", 0, 0, simulated=rng is not None)
    guaranteed = private_steps(
        CLONING, model, support, task, book=ledger, purpose="cloning", generator=rng, on_step=on_step
    )
    return ClonedVoice(voice_alone(model), guaranteed)


def voice_of_nobody(model: VoicePartition) -> Voice:
    """The base model's own voice: no reference, no personal offsets. What a clone is compared with."""
    model.reset_personal()
    return voice_alone(model)


@torch.no_grad()
def voice_alone(model: VoicePartition) -> Voice:
    """The voice of the model's personal parameters, with no reference."""
    model.model.eval()
    return model.model.voice(Heard(rows=torch.zeros(1, dtype=torch.int64, device=model.device)))


def zero_shot(model: VoicePartition, support: Sequence[Features]) -> Voice:
    """The voice that the reference encoder hears in the support (mean over utterances), untrained.

    Its prosody is measured in the support.
    """
    model.reset_personal()
    return with_measured_prosody(model.model, voice_of(model, support), support)


def adapt(
    model: VoicePartition,
    support: Sequence[Features],
    recipe: Recipe,
    *,
    judges: Judges = NOBODY,
    on_step: Callable[[int, int], None] | None = None,
) -> Voice:
    """Train a fresh personal set on the support for ``recipe.cloning.steps`` steps; only listen where none is.

    ``judges`` are the base's, and stay as they are. A copy of the discriminator learns beside and pulls at the mel as
    strongly as ``recipe.cloning.adversarial`` says: an L1 error on few recordings would blur what training had
    sharpened. The recogniser reads other texts that the clone says, weighted by ``recipe.cloning.words``: the few
    recordings hold few words.
    """
    if _trains_nothing(recipe):
        return zero_shot(model, support)
    if len(support) < 2:
        raise CorpusError(
            f"cloning needs at least 2 usable utterances and was given {len(support)}: record five or more"
        )
    model.reset_personal()
    support = aligned_once(model, support)
    model.model.train()
    # Every support utterance is heard as a reference: there is nobody to fall back on.
    heard = recipe.override({"speaker.reference_dropout": 0.0})
    with seeded(derive_seed(recipe.seed, "cloning dropout"), model.device):
        if recipe.cloning.optimizer == "sgd":
            take_inner_steps(
                CLONING, model, support, heard, generator(recipe.seed, "cloning"), on_step=on_step
            )
        else:
            take_phase(
                CLONING, model, support, heard, generator(recipe.seed, "cloning"),
                loss_of=_loss(recipe, judges, model.device), on_step=on_step,
            )  # fmt: skip
    return with_measured_prosody(model.model, _without_prosody(voice_of(model, support)), support)


def _without_prosody(voice: Voice) -> Voice:
    """A newcomer's prosody, to measure from: steps that were taken for mels may have moved it far beyond what is heard.

    What is measured is bounded relative to where it begins.
    """
    return Voice({**voice.tensors, "prosody": torch.zeros_like(voice["prosody"])})


def _loss(recipe: Recipe, judges: Judges, device: torch.device) -> LossOf:
    loss: LossOf = training_loss
    if judges.discriminator is not None and recipe.cloning.adversarial:
        contest = recipe.adversarial.model_copy(update={"weight": recipe.cloning.adversarial})
        accelerator = Accelerator(device, recipe.engine.precision)
        loss = contested_loss(MelAdversary(deepcopy(judges.discriminator), contest, accelerator))
    if judges.recogniser is not None and recipe.cloning.words:
        loss = also_read(loss, judges.recogniser.to(device), recipe.cloning.words)
    return loss


@torch.no_grad()
def aligned_once(model: VoicePartition, utterances: Sequence[Features]) -> list[Features]:
    """The utterances with durations: their own, or what the model's aligner, which cloning does not move, finds.

    Without an aligner they stay as they are.
    """
    if model.model.aligner is None:
        return list(utterances)
    model.model.eval()
    return [_aligned(model, one) if one.durations is None else one for one in utterances]


def _aligned(model: VoicePartition, utterance: Features) -> Features:
    there = utterance.to(model.device)
    durations, _ = model.model.durations(collate([there], None))
    return replace(there, durations=durations[0])


def _trains_nothing(recipe: Recipe) -> bool:
    return recipe.for_cloning().speaker.personal == NOTHING


@torch.no_grad()
def voice_of(model: VoicePartition, support: Sequence[Features]) -> Voice:
    """The model's voice with the support as references, pooled as each source says."""
    model.model.eval()
    heard = Heard.of([features.reference for features in support])
    return model.model.voice_of_speaker(heard.to(model.device))
