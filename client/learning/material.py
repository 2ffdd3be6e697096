"""A device's utterances as training sees them: split into support and query, and drawn in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from client.learning.kept_features import DEVICES_ROOM, KeptFeatures, Room
from shared_models.accelerator import CPU
from shared_models.algorithms.algorithm import Utterances
from shared_models.config import Recipe
from shared_models.features import Batch, Features, collate
from shared_models.speakers.augmentation import perturbed
from shared_models.speakers.heard import Reference


@dataclass(frozen=True, slots=True)
class Material:
    """A device's utterances, split for meta-learning: adapt on the support, learn from the query."""

    support: Sequence[Features]
    query: Sequence[Features]
    everything: Sequence[Features]

    @classmethod
    def split(cls, utterances: Sequence[Features], support_fraction: float) -> Material:
        """Every ``1/support_fraction``-th utterance is support; both parts get at least one."""
        n_support = min(max(1, round(len(utterances) * support_fraction)), max(1, len(utterances) - 1))
        chosen = {i * len(utterances) // n_support for i in range(n_support)}
        support = _Selection(utterances, sorted(chosen))
        query = _Selection(utterances, [i for i in range(len(utterances)) if i not in chosen])
        return cls(support, query if len(query) else support, utterances)

    def of(self, part: Utterances) -> Sequence[Features]:
        """The utterances that a phase names."""
        match part:
            case Utterances.SUPPORT:
                return self.support
            case Utterances.QUERY:
                return self.query
            case Utterances.ALL:
                return self.everything


class _Selection(Sequence[Features]):
    """Some items of a lazily read sequence, still unread."""

    def __init__(self, items: Sequence[Features], indices: Sequence[int]) -> None:
        self._items = items
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._items[self._indices[index]]


def on_device(utterances: Sequence[Features], device: torch.device) -> Sequence[Features]:
    """The utterances as training on ``device`` takes them: themselves on the processor, or if they are there."""
    there = device == CPU or (isinstance(utterances, KeptFeatures) and utterances.device == device)
    return utterances if there else KeptFeatures(utterances, Room(DEVICES_ROOM), device)


def draw_batch(utterances: Sequence[Features], recipe: Recipe, rng: torch.Generator) -> Batch:
    """A batch without repetition, each utterance with another one of the speaker's as its reference."""
    size = min(recipe.client.batch_size, len(utterances))
    order = torch.randperm(len(utterances), generator=rng)[: max(size, 2)].tolist()
    items = [utterances[i] for i in order]
    # One place along: every reference is another utterance of the batch, already in memory.
    references = [item.reference for item in items[1:] + items[:1]][:size]
    cropped = [crop_reference(reference, recipe, rng) for reference in references]
    return collate(items[:size], cropped)


def crop_reference(reference: Reference, recipe: Recipe, rng: torch.Generator) -> Reference:
    """A random excerpt of a reference, changed as the recipe's augmentation says, or nothing at all."""
    if torch.rand((), generator=rng) < recipe.speaker.reference_dropout:
        return reference.excerpt(0, 0)
    frames = min(recipe.speaker.reference_frames, reference.frames)
    start = int(torch.randint(reference.frames - frames + 1, (), generator=rng))
    return perturbed(reference.excerpt(start, frames), recipe.augmentation, rng)
