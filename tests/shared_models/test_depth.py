"""A model with fewer blocks is made of a larger one's, and the larger one's voices speak through it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_federation import random_speech, shaken, tiny_model, tiny_recipe

from shared_models.acoustic import build_model
from shared_models.acoustic.dimensions import dimensions
from shared_models.export.depth import can_be_cut, cut, kept_blocks, kept_sites
from shared_models.features import collate
from shared_models.partition import PartitionedModel

RECIPE = tiny_recipe(
    aligner__learn="always",
    model__encoder_layers=3,
    model__decoder_layers=4,
    model__filter=64,
    model__dropout=0.0,
)
SMALLER = RECIPE.override({"model.encoder_layers": 2, "model.decoder_layers": 2, "model.filter": 32})


@given(st.integers(1, 12), st.integers(1, 12))
def test_blocks_are_even_and_end_with_the_last(present: int, kept: int) -> None:
    if kept > present:
        present, kept = kept, present
    chosen = kept_blocks(present, kept)
    assert len(chosen) == kept
    assert chosen[-1] == present - 1
    assert chosen == sorted(set(chosen))
    assert all(0 <= block < present for block in chosen)
    gaps = [b - a for a, b in zip([-1, *chosen], chosen, strict=False)]
    assert max(gaps) - min(gaps) <= 1


def test_sites_go_with_their_blocks() -> None:
    before, after = dimensions(RECIPE.model), dimensions(SMALLER.model)
    # Blocks 1 and 3 of 0 to 3, two norms each, and the final one.
    assert kept_sites(before, after) == [2, 3, 6, 7, 8]
    assert kept_sites(before, before) == list(range(9))


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"filter": 32, "encoder_layers": 1, "decoder_layers": 1}, True),
        ({"filter": 65}, False),
        ({"decoder_layers": 5}, False),
        ({"encoder_layers": 4}, False),
        ({"hidden": 32}, False),
        ({"heads": 2}, False),
        ({"harmonics": True}, False),
        ({"mean_durations": True}, False),
    ],
)
def test_what_can_be_cut(change: dict[str, int], fits: bool) -> None:
    before = dimensions(RECIPE.model)
    assert can_be_cut(before, replace(before, **change)) == fits  # type: ignore[arg-type]


def test_a_deep_decoder_whose_first_norms_are_everybodys_is_cut_only_where_the_speaker_keeps_his() -> None:
    before = replace(dimensions(RECIPE.model), decoder_layers=6)
    assert before.sites == 9
    # Blocks 1, 3 and 5; block 1's norms are plain, and would have to be the speaker's.
    assert not can_be_cut(before, replace(before, decoder_layers=3))
    assert can_be_cut(before, replace(before, encoder_layers=1))


def test_every_tensor_is_one_of_the_larger_models_and_hears_speakers_alike() -> None:
    model = shaken(PartitionedModel(build_model(RECIPE, voices=3)), 0.1).model.eval()
    small = cut(model, RECIPE, SMALLER).eval()
    mine, theirs = small.state_dict(), model.state_dict()
    for name in ("attention.query.weight", "attention.output.bias", "feed_forward.contract.bias"):
        for at, source in ((0, 1), (1, 3)):
            assert torch.equal(
                mine[f"acoustic.decoder.{at}.{name}"], theirs[f"acoustic.decoder.{source}.{name}"]
            )
        for at, source in ((0, 1), (1, 2)):
            assert torch.equal(
                mine[f"acoustic.encoder.{at}.{name}"], theirs[f"acoustic.encoder.{source}.{name}"]
            )
    speech = random_speech(3)
    batch = collate(speech, [f.reference for f in speech], [0, 1, 2])
    with torch.no_grad():
        heard = small.voice(batch.heard)
        known = model.voice(batch.heard).at_sites([2, 3, 6, 7, 8], model.takes)
        assert list(heard) == list(known)
        for name in heard:
            assert torch.allclose(heard[name], known[name], atol=1e-6)
        assert torch.isfinite(small.synthesize(batch.phonemes, batch.phoneme_lengths, known)[0]).all()


def test_cut_to_the_same_sizes_it_is_the_same_model() -> None:
    model = shaken(tiny_model(RECIPE), 0.1).model
    again = cut(model, RECIPE, RECIPE).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
