"""Batches of pooled recordings: whose rows are left out, and how lengths are sorted."""

from __future__ import annotations

import torch

from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.speakers.heard import MEL
from simulations.mixed_batch import mixed_batch, mixed_batches


def speaker(number: int, lengths: list[int]) -> list[Features]:
    found = []
    for place, phonemes in enumerate(lengths):
        frames = 3 * phonemes
        found.append(
            Features(
                utterance_id=f"{number}-{place}",
                phonemes=torch.full((phonemes,), number + 2),
                mel=torch.full((frames, 80), float(number)),
                log_f0=torch.zeros(frames),
                voiced=torch.ones(frames, dtype=torch.bool),
                energy=torch.zeros(frames),
                durations=torch.full((phonemes,), 3),
            )
        )
    return found


SPEAKERS = [speaker(n, [5 + 7 * n, 60 - 9 * n, 20, 33]) for n in range(5)]


def recipe(**changes: object) -> Recipe:
    return Recipe(name="x").override({name.replace("__", "."): value for name, value in changes.items()})


def test_a_share_of_the_rows_is_nobody_s_and_references_stay_the_speaker_s() -> None:
    chosen = recipe(speaker__row_dropout=0.5, client__batch_size=400, speaker__reference_dropout=0.0)
    batch = mixed_batch(SPEAKERS, chosen, torch.Generator().manual_seed(2), with_voices=True)
    nobody = batch.heard.rows < 0
    # 400 coins: outside of these bounds once in a thousand million.
    assert 140 < int(nobody.sum()) < 260
    assert set(batch.heard.rows[nobody].tolist()) == {-1}
    assert torch.equal(batch.heard.rows[~nobody], batch.phonemes[~nobody, 0] - 2)
    assert torch.equal(batch.heard.signals[MEL].values[:, 0, 0], batch.phonemes[:, 0].float() - 2)


def test_without_dropout_every_row_is_its_speaker_s_and_nothing_more_is_drawn() -> None:
    one, two = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    batch = mixed_batch(SPEAKERS, recipe(), one, with_voices=True)
    assert torch.equal(batch.heard.rows, batch.phonemes[:, 0] - 2)
    list(mixed_batches(SPEAKERS, recipe(), two, 1))
    assert torch.equal(one.get_state(), two.get_state())


def test_buckets_need_less_padding() -> None:
    def padding(buckets: bool) -> float:
        chosen = recipe(client__length_buckets=buckets)
        batches = list(mixed_batches(SPEAKERS, chosen, torch.Generator().manual_seed(4), 20))
        assert [len(b.phonemes) for b in batches] == [6] * 20
        return (
            sum(b.phonemes.numel() for b in batches) / sum(int(b.phoneme_lengths.sum()) for b in batches) - 1
        )

    assert padding(True) < 0.3 * padding(False)


def test_buckets_come_in_no_order_of_length() -> None:
    chosen = recipe(client__length_buckets=True)
    longest = [
        b.phonemes.shape[1] for b in mixed_batches(SPEAKERS, chosen, torch.Generator().manual_seed(4), 20)
    ]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)
