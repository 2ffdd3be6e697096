"""Support and query, and what a batch is made of."""

from __future__ import annotations

from tiny_federation import random_speech, tiny_recipe

from client.learning.material import Material, draw_batch
from shared_models.algorithms.algorithm import Utterances
from shared_models.seeds import generator
from shared_models.speakers.heard import MEL


def test_support_and_query_are_apart_and_cover_everything() -> None:
    for count in range(2, 12):
        utterances = random_speech(count)
        split = Material.split(utterances, 0.4)
        support, query = ({u.utterance_id for u in part} for part in (split.support, split.query))
        assert support
        assert query
        assert not support & query
        assert support | query == {u.utterance_id for u in utterances}


def test_a_phase_gets_the_part_that_it_names() -> None:
    split = Material.split(random_speech(5), 0.4)
    parts = [{u.utterance_id for u in split.of(part)} for part in Utterances]
    assert [len(part) for part in parts] == [2, 3, 5]
    assert parts[0] | parts[1] == parts[2]


def test_a_batchs_reference_is_never_the_utterance_itself() -> None:
    recipe = tiny_recipe(speaker__reference_dropout=0.0, aligner__learn="never")
    rng = generator(1)
    for count in (2, 3, 6):
        utterances = random_speech(count)
        batch = draw_batch(utterances, recipe, rng)
        heard = batch.heard.signals[MEL]
        for mel, reference, length in zip(batch.mel, heard.values, heard.lengths, strict=True):
            own = {tuple(frame[:4].tolist()) for frame in mel}
            assert int(length) > 0
            assert not own & {tuple(frame[:4].tolist()) for frame in reference[: int(length)]}
