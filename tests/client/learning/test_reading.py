"""What a clone says of other texts is read while it adapts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import random_speech, same, shaken, tiny_model, tiny_recipe

from client.cloning import adapt, clone
from client.home.ledger import Ledger
from client.learning.material import draw_batch
from client.learning.phases import training_loss
from client.learning.reading import also_read, misread
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.judges import Judges
from shared_models.mel_discriminator import MelDiscriminator
from shared_models.phoneme_recogniser import PhonemeRecogniser, padded_texts
from shared_models.text.symbols import VOCABULARY_SIZE


def recipe_of(**changes: Any) -> Recipe:
    settings = {"aligner__learn": "never", "cloning__words": 0.5, "cloning__words_frames": 32}
    return tiny_recipe(**(settings | changes))


def reader() -> PhonemeRecogniser:
    torch.manual_seed(3)
    texts = padded_texts([torch.tensor([5, 9, 30, 12]), torch.tensor([7, 3, 8])])
    return PhonemeRecogniser(VOCABULARY_SIZE, 12, 80, texts).eval().requires_grad_(False)


def test_the_loss_is_the_others_and_the_weighted_misreading() -> None:
    recipe = recipe_of()
    model, recogniser = shaken(tiny_model(recipe)).model.eval(), reader()
    batch = draw_batch(random_speech(3), recipe, torch.Generator().manual_seed(0))

    def draws() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    rng = draws()
    plain = training_loss(model, batch, recipe, rng)
    read = misread(recogniser, model, batch, recipe, rng)
    both = also_read(training_loss, recogniser, 0.25)(model, batch, recipe, draws())
    torch.testing.assert_close(both, plain + 0.25 * read)
    gradients = torch.autograd.grad(read, list(model.parameters()), allow_unused=True)
    moved = {
        name
        for (name, _), g in zip(model.named_parameters(), gradients, strict=True)
        if g is not None and g.any()
    }
    assert any(name.startswith("acoustic.decoder") for name in moved)
    assert any(name.startswith("voices") for name in moved), "the voice is heard"
    assert all(parameter.grad is None for parameter in recogniser.parameters())


def test_clones_are_read_and_then_misread_less() -> None:
    recipe = recipe_of(cloning__steps=40, cloning__lr=0.02, cloning__words=5.0)
    model, support, recogniser = shaken(tiny_model(recipe)), random_speech(3), reader()
    before = {name: value.clone() for name, value in recogniser.state_dict().items()}
    found = adapt(model, support, recipe, judges=Judges(recogniser=recogniser))
    assert same(before, recogniser.state_dict())
    assert same(found.tensors, adapt(model, support, recipe, judges=Judges(recogniser=recogniser)).tensors)
    unread = recipe.override({"cloning.words": 0.0})
    plain = adapt(model, support, unread, judges=Judges(recogniser=recogniser))
    assert same(plain.tensors, adapt(model, support, recipe).tensors)

    def misread_in(voice: Any) -> float:
        texts, lengths = recogniser.texts, (recogniser.texts > 0).sum(1)
        many = type(voice)({n: v.expand(2, *v.shape[1:]) for n, v in voice.tensors.items()})
        with torch.no_grad():
            said = model.model.eval().acoustic.excerpts(texts, lengths, many, 300, None)
            return float(recogniser.loss(said.mel, said.mask, texts.gather(1, said.places)))

    assert misread_in(found) < misread_in(plain)


def test_it_goes_with_the_discriminator() -> None:
    recipe = recipe_of(cloning__adversarial=0.5, adversarial__channels=4)
    model, support = shaken(tiny_model(recipe)), random_speech(3)
    torch.manual_seed(5)
    judge = MelDiscriminator(4)
    voices = [
        adapt(model, support, recipe, judges=judges).tensors
        for judges in (Judges(), Judges(judge), Judges(recogniser=reader()), Judges(judge, reader()))
    ]
    assert all(not same(one, other) for i, one in enumerate(voices) for other in voices[:i])


def test_a_private_clone_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def heard(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(PhonemeRecogniser, "forward", heard)
    private = {
        "personal_privacy__enabled": True,
        "personal_privacy__epsilon": 4.0,
        "personal_privacy__delta": 1e-3,
    }
    recipe = recipe_of(**private)
    model = shaken(tiny_model(recipe))
    ledger, judges = Ledger(tmp_path / "ledger.sqlite", 4.0, 1e-3), Judges(recogniser=reader())
    assert clone(model, random_speech(3), recipe, ledger, judges=judges).privacy is not None
    with pytest.raises(AssertionError, match="read"):
        clone(
            model,
            random_speech(3),
            recipe.override({"personal_privacy.enabled": False}),
            ledger,
            judges=judges,
        )


def test_plain_steps_have_no_judge() -> None:
    with pytest.raises(RecipeError, match=r"cloning\.words is for steps by Adam"):
        recipe_of(cloning__optimizer="sgd")
