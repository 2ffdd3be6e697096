"""Batches of several speakers at once, which only pooled recordings allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from client.learning.material import crop_reference
from shared_models.config import Recipe
from shared_models.features import Batch, Features, collate
from shared_models.speakers.content import PHONEMES, spoken_phonemes
from shared_models.speakers.heard import Reference
from shared_models.speakers.voices import NOBODY


class _Example(NamedTuple):
    """One utterance of a batch."""

    voice: int
    """Its speaker's place."""
    item: Features
    reference: Reference
    """Of another utterance of the speaker."""


def mixed_batch(
    speakers: Sequence[Sequence[Features]], recipe: Recipe, rng: torch.Generator, *, with_voices: bool
) -> Batch:
    """Utterances of random speakers, each with another of the speaker's as its reference.

    ``with_voices`` tells the model which of its voices each is, by the speaker's place, or that it is nobody's
    (``speaker.row_dropout``).
    """
    return _collated(_examples(speakers, recipe.client.batch_size, recipe, rng), recipe, rng, with_voices)


def mixed_batches(
    speakers: Sequence[Sequence[Features]], recipe: Recipe, rng: torch.Generator, count: int
) -> Iterator[Batch]:
    """``count`` batches with voices; each of about as many phonemes an utterance if the recipe has buckets."""
    if not recipe.client.length_buckets:
        for _ in range(count):
            yield mixed_batch(speakers, recipe, rng, with_voices=True)
        return
    size = recipe.client.batch_size
    examples = _examples(speakers, count * size, recipe, rng)
    examples.sort(key=lambda example: len(example.item.phonemes))
    # In any order, so that the last steps of a round are not those with the longest utterances.
    for bucket in torch.randperm(count, generator=rng).tolist():
        yield _collated(examples[bucket * size : (bucket + 1) * size], recipe, rng, with_voices=True)


def _examples(
    speakers: Sequence[Sequence[Features]], count: int, recipe: Recipe, rng: torch.Generator
) -> list[_Example]:
    found = []
    for voice in torch.randint(len(speakers), (count,), generator=rng).tolist():
        order = torch.randperm(len(speakers[voice]), generator=rng)[:2].tolist()
        reference = crop_reference(_reference_of(speakers[voice][order[-1]], recipe), recipe, rng)
        found.append(_Example(voice, speakers[voice][order[0]], reference))
    return found


def _reference_of(features: Features, recipe: Recipe) -> Reference:
    """The utterance as a reference, with what it says where the recipe keeps that out of voices."""
    reference = features.reference
    if not recipe.speaker.content_confusion:
        return reference
    return Reference({**reference.signals, PHONEMES: spoken_phonemes(features)})


def _collated(examples: Sequence[_Example], recipe: Recipe, rng: torch.Generator, with_voices: bool) -> Batch:
    voices = torch.tensor([example.voice for example in examples])
    if with_voices and recipe.speaker.row_dropout:
        left_out = torch.rand(len(voices), generator=rng) < recipe.speaker.row_dropout
        voices[left_out] = NOBODY
    items, references = [e.item for e in examples], [e.reference for e in examples]
    return collate(items, references, voices.tolist() if with_voices else None)
