"""Which speakers are held out, and which of their utterances a clone may hear.

A corpus's own split is used where there is one. Otherwise about a tenth of the speakers are held
out, by a hash of their ids: the choice needs no seed, and adding a speaker moves nobody else.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from shared_models.errors import CorpusError
from shared_models.utterance import Utterance

SUPPORT = 5
"""Utterances of a test speaker that a clone may hear."""
HELD_OUT = 0.1
"""Share of the speakers that are held out."""
_FEWEST_TO_SPLIT = 6


def hold_out(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Mark the held-out speakers' utterances as test: a tenth, at least 2 of 6 or more speakers, else 1."""
    speakers = sorted({u.speaker_id for u in utterances}, key=_rank)
    count = len(speakers)
    if count < 3:
        return list(utterances)
    least = 2 if count >= _FEWEST_TO_SPLIT else 1
    test = set(speakers[: max(least, round(HELD_OUT * count))])
    return [replace(u, split="test", role="query") if u.speaker_id in test else u for u in utterances]


def give_roles(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Train speakers' utterances all ``train``; of test speakers without support, the first five.

    Raises :class:`CorpusError` for a speaker who is in both splits.
    """
    grouped: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in sorted(utterances, key=lambda u: u.utterance_id):
        grouped[utterance.speaker_id].append(utterance)
    return [u for speaker in sorted(grouped) for u in _roles_of(speaker, grouped[speaker])]


def _roles_of(speaker: str, utterances: list[Utterance]) -> list[Utterance]:
    splits = {u.split for u in utterances}
    if len(splits) > 1:
        raise CorpusError(
            f"speaker {speaker!r} is in both splits, train and test; put all of their utterances in one"
        )
    if splits == {"train"}:
        return [replace(u, role="train") for u in utterances]
    if any(u.role == "support" for u in utterances):
        return [replace(u, role="support" if u.role == "support" else "query") for u in utterances]
    return [replace(u, role="support" if i < SUPPORT else "query") for i, u in enumerate(utterances)]


def _rank(speaker: str) -> str:
    return hashlib.sha256(speaker.encode()).hexdigest()
