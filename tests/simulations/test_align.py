"""Aligning a corpus with itself: a file for every utterance, and the aligner that found them."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from safetensors import safe_open
from tiny_federation import features_of_tests, small_corpus

from shared_models.audio.alignment import read_alignment
from shared_models.audio.reading import read_audio
from simulations.corpora import align, open_corpus
from simulations.corpora.aligner_file import FORMAT


def test_every_utterance_is_aligned_and_the_aligner_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_federation import tiny_recipe

    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    monkeypatch.setattr(align, "STEPS", 2)
    corpus, output = small_corpus(tmp_path / "corpus", train=2, test=1, utterances=3), tmp_path / "phones"
    monkeypatch.setattr(sys, "argv", ["align", str(corpus), str(output)])
    align.main()
    utterances = open_corpus(tiny_recipe(corpus__path=str(corpus)).corpus).utterances
    assert len(utterances) == len(list(output.glob("*.phones"))) == 9
    for utterance in utterances:
        phones = read_alignment(output / f"{utterance.utterance_id}.phones")
        wave, rate = read_audio(utterance.audio)
        assert 0 <= phones[0].start < phones[-1].end <= len(wave) / rate + 0.02
        assert all(one.end == pytest.approx(two.start) for one, two in pairwise(phones))
    with safe_open(output / "aligner.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == FORMAT
