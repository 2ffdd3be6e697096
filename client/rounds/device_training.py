"""One round of a voice model on one device's files."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from client.home.device import Device
from client.home.ledger import Ledger
from client.home.owner_ledger import open_owner_ledger
from client.home.policy import Policy
from client.learning.cached_features import CachedFeatures, usable_now
from client.learning.local_round import PrivateLoop, local_round
from client.learning.material import Material, on_device
from client.learning.personal_terms import PersonalTerms
from client.learning.private_adaptation import private_steps
from client.task import Task
from shared_models import wire
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Phase
from shared_models.errors import CorpusError
from shared_models.features import Features
from shared_models.utterance import Utterance


def train_device(
    model: VoicePartition, weights: Tensor, device: Device, task: Task, policy: Policy | None = None
) -> wire.Update:
    """One round on one device's files: personal parameters from and to disk, losses to the owner's log.

    A simulated device keeps the cost of DP-SGD in its own ledger. A real one's goes into the ledger of its owner, on
    the terms of the owner's ``policy`` (the default one if None).
    """
    started = time.monotonic()
    private = _private_terms(device, task, policy or Policy())
    paid_by = None if private is None else private[0].identity
    kept = device.load_personal(task.run, task.round, like=model.personal_state(), paid_by=paid_by)
    if kept is None:
        model.reset_personal()
    else:
        model.load_personal_state(kept)
    recordings, left_out = _recordings(device, task)
    utterances = CachedFeatures(recordings, device.feature_cache, task.recipe.features)
    material = Material.split(on_device(utterances, model.device), task.recipe.client.support_fraction)
    loop = None if private is None else private_loop(model, task, *private)
    result = local_round(model, weights, material, task, loop)
    device.save_personal(task.run, task.round, model.personal_state(), paid_by=paid_by)
    seconds = round(time.monotonic() - started, 3)
    named = {"left_out": left_out} if left_out else {}
    device.log({"run": task.run, "round": task.round, "seconds": seconds} | result.losses | named)
    return result.update


def _recordings(device: Device, task: Task) -> tuple[Sequence[Utterance], list[str]]:
    """What the round trains on, and what it leaves out: on a real device files come and go between rounds.

    Raises :class:`CorpusError` where nothing is left.
    """
    if task.simulated:
        return device.recordings, []
    usable, left_out = usable_now(device.recordings, device.feature_cache, task.recipe.features)
    if not usable:
        why = f" (first problem: {left_out[0]})" if left_out else ""
        raise CorpusError(
            f"none of the device's recordings can be used any more{why}: put them back, or join again"
        )
    return usable, left_out


def private_loop(model: VoicePartition, task: Task, book: Ledger, terms: PersonalTerms) -> PrivateLoop:
    """A round's private phase, with its cost in ``book`` before its first step."""

    def loop(phase: Phase, utterances: Sequence[Features], rng: torch.Generator) -> list[float]:
        private_steps(
            phase, model, utterances, task, book=book, purpose="inner loop", terms=terms,
            # At most so often, if the client is in every cohort.
            times=task.recipe.federation.rounds, generator=task.private(rng),
        )  # fmt: skip
        return []

    return loop


def _private_terms(device: Device, task: Task, policy: Policy) -> tuple[Ledger, PersonalTerms] | None:
    """The ledger and the terms of a private phase; None where the personal set trains without noise, or may.

    A simulation's are the recipe's, and the simulated device's own ledger.
    """
    recipe, personal = task.recipe, task.recipe.personal_privacy
    recipe.refuse_private_meta_learning()
    if not personal.enabled or recipe.algorithm.trains_voice_without_noise:
        return None
    if task.simulated:
        return Ledger(device.ledger_path, personal.epsilon, personal.delta), PersonalTerms.of(recipe)
    terms = policy.personal_terms(recipe)
    return open_owner_ledger(policy.personal_epsilon, policy.personal_delta, home=device.home), terms
