"""A voice by its tensors' names: rows, sites, and the serving form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic_batches import batch_of, random_features, shake, small_model

from shared_models.errors import CheckpointError
from shared_models.speakers.voice import (
    Voice,
    VoiceTensor,
    require_fit,
    serving_vectors,
    voice_from_vectors,
)

TAKES = (
    VoiceTensor("b", (2,), made_by="sources"),
    VoiceTensor("a", (3, 2), made_by="maps", by_site=True),
    VoiceTensor("c", (), made_by="voice"),
)


def three_voices() -> Voice:
    rng = torch.Generator().manual_seed(1)
    return Voice({d.name: torch.randn(3, *d.shape, generator=rng) for d in TAKES})


def test_rows_are_taken_repeated_and_joined() -> None:
    voices = three_voices()
    assert len(voices) == 3
    assert voices.size == 3 * (2 + 6 + 1)
    one = voices.rows(torch.tensor([1]))
    assert torch.equal(one.expand(4)["a"], voices["a"][1].expand(4, -1, -1))
    assert voices.expand(3) is voices
    with pytest.raises(ValueError, match="cannot expand 3 speakers to 2"):
        voices.expand(2)
    again = Voice.joined([one, voices])
    assert torch.equal(again["c"], voices["c"][[1, 0, 1, 2]])
    grown = Voice({name: tensor.requires_grad_() for name, tensor in three_voices().tensors.items()})
    assert not any(tensor.requires_grad for tensor in grown.detach().tensors.values())


def test_fewer_sites_touch_what_is_by_site_alone() -> None:
    voices = three_voices()
    fewer = voices.at_sites([2, 0], TAKES)
    assert torch.equal(fewer["a"], voices["a"][:, [2, 0]])
    assert fewer["b"] is voices["b"]
    assert fewer["c"] is voices["c"]


@given(st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=4), st.integers(1, 4))
def test_the_serving_form_holds_everything_in_the_declared_order(shapes: list[list[int]], rows: int) -> None:
    takes = [VoiceTensor(f"t{n}", tuple(shape), made_by="voice") for n, shape in enumerate(shapes)]
    voice = Voice({d.name: torch.randn(rows, *d.shape) for d in reversed(takes)})
    vectors = serving_vectors(voice, takes)
    assert vectors.shape == (rows, voice.size // rows)
    assert torch.equal(vectors[:, 0], voice["t0"].reshape(rows, -1)[:, 0])
    assert torch.equal(vectors[:, -1], voice[takes[-1].name].reshape(rows, -1)[:, -1])
    unfolded = voice_from_vectors(vectors, takes)
    assert all(torch.equal(unfolded[d.name], voice[d.name]) for d in takes)
    with pytest.raises(CheckpointError, match="another recipe"):
        voice_from_vectors(vectors[:, 1:], takes)


def test_the_folded_vectors_are_all_that_synthesis_needs() -> None:
    model = small_model().eval()
    shake(model)
    batch = batch_of([random_features(9, 60, 1), random_features(5, 41, 2)])
    voice = model.voice(batch.heard)
    unfolded = voice_from_vectors(serving_vectors(voice, model.takes), model.takes)
    first, _ = model.synthesize(batch.phonemes, batch.phoneme_lengths, voice)
    second, _ = model.synthesize(batch.phonemes, batch.phoneme_lengths, unfolded)
    assert torch.equal(first, second)


def test_what_does_not_fit_is_told_of_by_both_sides() -> None:
    voices = three_voices()
    require_fit(voices, TAKES)
    with pytest.raises(CheckpointError, match=r"a voice of a \(3, 2\), b \(2,\) does not fit .* c \(\)"):
        require_fit(Voice({name: voices[name] for name in ("a", "b")}), TAKES)
    with pytest.raises(CheckpointError, match=r"b \(3,\)"):
        serving_vectors(Voice(dict(voices.tensors) | {"b": torch.zeros(3, 3)}), TAKES)
