"""Aligning a corpus with itself: a file for every utterance, and the aligner that found them."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_federation import features_of_tests, small_corpus, tiny_recipe

from shared_models.acoustic import build_model
from shared_models.audio.alignment import read_alignment
from shared_models.audio.reading import read_audio
from shared_models.base_model import BaseModel, packaged_base
from shared_models.errors import CheckpointError
from shared_models.partition import PartitionedModel
from simulations.corpora import align, open_corpus
from simulations.corpora.aligner_file import FORMAT


def test_every_utterance_is_aligned_and_the_aligner_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_with_a_base_its_aligner_is_begun_with_and_none_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    monkeypatch.setattr(align, "train_aligner", None)
    corpus, output = small_corpus(tmp_path / "corpus", train=2, utterances=3), tmp_path / "phones"
    monkeypatch.setattr(sys, "argv", ["align", str(corpus), str(output), "--base", "packaged"])
    align.main()
    kept = load_file(output / "aligner.safetensors")
    aligner = packaged_base().model.model.aligner
    assert aligner is not None
    assert all(torch.equal(kept[name], value) for name, value in aligner.state_dict().items())
    assert len(list(output.glob("*.phones"))) == 6


def test_a_base_without_an_aligner_aligns_nothing() -> None:
    recipe = tiny_recipe(aligner__learn="never")
    base = BaseModel(PartitionedModel(build_model(recipe)), recipe, "hash")
    with pytest.raises(CheckpointError, match="has no aligner for such recordings"):
        align.aligner_of(base, recipe)
