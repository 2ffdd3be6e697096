"""A batch of utterances: what one of them lacks takes nothing from the others."""

from __future__ import annotations

import torch
from synthetic_batches import random_features

from shared_models.features import collate


def test_an_utterance_without_durations_leaves_the_others_theirs() -> None:
    """Else a recording decides how the others of its batch are trained."""
    whole, bare = random_features(5, 30, 1), random_features(7, 40, 2, aligned=False)
    assert whole.durations is not None
    for items in ([whole, bare], [bare, whole]):
        batch = collate(items, None)
        place = items.index(whole)
        assert batch.durations is not None
        assert torch.equal(batch.durations[place, :5], whole.durations)
        assert not batch.durations[1 - place].any()
        assert batch.aligned == tuple(item is whole for item in items)
    assert collate([bare, bare], None).durations is None
