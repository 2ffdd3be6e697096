"""Cloning and speaking happen where the model is: shown on ``meta``, whose tensors refuse those of the processor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from numbers_of_nothing import reading_gives
from tiny_federation import random_speech, tiny_model, tiny_recipe

from client.cloning import adapt, adapt_privately, voice_of_nobody, zero_shot
from client.home.ledger import Ledger
from client.speaker import Speaker
from shared_models.judges import Judges
from shared_models.mel_discriminator import MelDiscriminator
from shared_models.phoneme_recogniser import PhonemeRecogniser, padded_texts
from shared_models.speakers.voice import Voice
from shared_models.vocoders import build_vocoder

META = torch.device("meta")
PRIVATE = {"personal_privacy__enabled": True, "personal_privacy__noise_multiplier": 1.0}


def on_meta(voice: Voice) -> bool:
    return {tensor.device for tensor in voice.tensors.values()} == {META}


@pytest.mark.parametrize("algorithm", ["fedavg", "fedper", "fedrep"])
def test_a_voice_is_adapted_and_heard_where_the_model_is(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(federation__algorithm=algorithm, cloning__steps=2)
    model, support = tiny_model(recipe).to(META), random_speech(4)
    assert on_meta(zero_shot(model, support))
    assert on_meta(voice_of_nobody(model))
    with reading_gives(1.5, monkeypatch) as read:
        assert on_meta(adapt(model, support, recipe))
    assert read == [(2,)]  # the losses, after the last step


def test_a_bases_judges_listen_where_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(
        cloning__steps=2, cloning__adversarial=0.5, cloning__words=0.5, adversarial__channels=4
    )
    model = tiny_model(recipe).to(META)
    texts = padded_texts([torch.tensor([5, 9, 30, 12]), torch.tensor([7, 3, 8])])
    reader = PhonemeRecogniser(model.model.dimensions.vocabulary, 8, 80, texts)
    judges = Judges(MelDiscriminator(4), reader.requires_grad_(False))
    with reading_gives(1.5, monkeypatch) as read:
        assert on_meta(adapt(model, random_speech(4), recipe, judges=judges))
    assert read == [(2,)]  # the losses alone: nothing waits for how long a text will be


def test_a_private_voice_is_adapted_where_the_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(cloning__steps=2, **PRIVATE)
    model, ledger = tiny_model(recipe).to(META), Ledger(tmp_path / "ledger", None, 1e-3)
    with reading_gives(1, monkeypatch):
        cloned = adapt_privately(
            model, random_speech(4), recipe, ledger, rng=torch.Generator().manual_seed(1)
        )
    assert on_meta(cloned.voice)


def test_what_leaves_is_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tiny_recipe()).to(META)
    speaker = Speaker(model.model, voice_of_nobody(model), build_vocoder("griffin_lim"))
    with reading_gives(9, monkeypatch) as read:
        sound = speaker.unmarked(torch.tensor([3, 4, 5, 6]))
    # How long it will be, and the mel that the postfilter is given.
    assert [len(shape) for shape in read] == [1, 2]
    assert sound.mel.device == torch.device("cpu")
    assert sound.wave.shape == (9 * 256,)
