"""``fedvoice bench leakage``: the probe finds what is there, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_federation import random_speech, tiny_model, tiny_recipe

from shared_models.errors import CorpusError, RecipeError
from shared_models.features import Features
from simulations.benchmarks.leakage import explained, measure_leakage

SPEAKERS, EACH = 5, 60
WHOSE = np.repeat(np.arange(SPEAKERS), EACH)
TEXTS = np.arange(SPEAKERS * EACH)


def drawn(seed: int, columns: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).standard_normal((SPEAKERS * EACH, columns))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_probe_explains_the_share_that_is_there(share: float) -> None:
    content, noise, speaker = drawn(1, 3), drawn(2, 3), drawn(3, 4)[WHOSE]
    seen = np.sqrt(share) * content + np.sqrt(1 - share) * noise
    # Who speaks explains nothing of what is said, however much the embedding says of it.
    embedding = np.hstack([seen @ drawn(4, 3)[:3], 10 * speaker])
    said = content + 5 * drawn(5, 3)[WHOSE]
    found = explained(embedding, said, WHOSE, TEXTS)
    assert found.mean == pytest.approx(share, abs=0.08)
    assert found.low <= found.mean <= found.high


def test_a_text_that_was_learnt_by_heart_does_not_count() -> None:
    """Each text is spoken by every speaker, and the embedding names the text."""
    texts = np.tile(np.arange(EACH), SPEAKERS)
    names, content = np.eye(EACH)[texts], drawn(1, 3)[:EACH][texts]
    assert explained(names, content, WHOSE, texts).mean < 0.2
    assert explained(names, content, WHOSE, TEXTS).mean > 0.9


def telling(count: int, seed: int, leaks: bool) -> list[Features]:
    """Utterances whose mel names the phoneme that is spoken most, or not."""
    found = []
    for number, one in enumerate(random_speech(count, seed)):
        said = 3 + number % 3
        mel = torch.full((60, 80), -5.0)
        if leaks:
            mel[:, said] += 2.0
        mel = mel + 0.3 * torch.randn(60, 80, generator=torch.Generator().manual_seed(seed * 100 + number))
        found.append(
            replace(one, mel=mel, phonemes=torch.tensor([said] * 5 + [20 + number % 7]), durations=None)
        )
    return found


def test_embeddings_that_hear_the_content_are_told_from_those_that_do_not() -> None:
    model = tiny_model(tiny_recipe(speaker__sources=["mel_style"])).model
    leaky, tight = (
        measure_leakage(model, {str(s): telling(21, s + 1, leaks) for s in range(3)})
        for leaks in (True, False)
    )
    assert leaky.mel.mean > 0.3
    assert leaky.embedding.mean > 0.5
    for nothing in (leaky.others, tight.embedding, tight.mel):
        assert nothing.mean < 0.2
    assert (leaky.speakers, leaky.utterances) == (3, 63)
    assert 0 <= leaky.identified <= 1
    assert set(leaky.as_json()) == {"embedding", "mel", "others", "identified", "speakers", "utterances"}


def test_what_cannot_be_probed_is_told() -> None:
    with pytest.raises(RecipeError, match="hears nobody"):
        measure_leakage(tiny_model(tiny_recipe(speaker__sources=["table"])).model, {})
    with pytest.raises(CorpusError, match=r"4 utterances of 2 speaker\(s\) are too few"):
        measure_leakage(
            tiny_model(tiny_recipe(speaker__sources=["mel_style"])).model,
            {"a": random_speech(2), "b": random_speech(2)},
        )
