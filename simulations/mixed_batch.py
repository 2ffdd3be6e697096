"""Batches of several speakers at once, which only pooled recordings allow."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from client.learning.material import crop_reference
from shared_models.config import Recipe
from shared_models.features import Batch, Features, collate


def mixed_batch(
    speakers: Sequence[Sequence[Features]], recipe: Recipe, rng: torch.Generator, *, with_voices: bool
) -> Batch:
    """Utterances of random speakers, each with another of the speaker's as its reference.

    ``with_voices`` tells the model which of its voices each is, by the speaker's place.
    """
    voices = torch.randint(len(speakers), (recipe.client.batch_size,), generator=rng).tolist()
    items, references = [], []
    for voice in voices:
        order = torch.randperm(len(speakers[voice]), generator=rng)[:2].tolist()
        items.append(speakers[voice][order[0]])
        references.append(crop_reference(speakers[voice][order[-1]].reference, recipe, rng))
    return collate(items, references, voices if with_voices else None)
