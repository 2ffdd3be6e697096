"""The judge of words: what it hears, what it does not, and its place in a base's file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_federation import same, shaken, tiny_model, tiny_recipe

from client.cloning import voice_of_nobody
from shared_models.base_model import BaseModel, load_base, write_base
from shared_models.errors import CheckpointError
from shared_models.judges import Judges, judges_in
from shared_models.phoneme_recogniser import PhonemeRecogniser, padded_texts
from shared_models.speakers.voice import Voice

VOCABULARY, BANDS = 9, 80
TEXTS = padded_texts([torch.tensor([3, 1, 4]), torch.tensor([5, 2]), torch.tensor([6, 7, 8, 1])])


def recogniser_of(vocabulary: int = VOCABULARY) -> PhonemeRecogniser:
    torch.manual_seed(3)
    return PhonemeRecogniser(vocabulary, 12, BANDS, TEXTS)


def mels() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    return torch.randn(2, 30, BANDS) - 5, torch.arange(30) < torch.tensor([[30], [21]])


def test_padding_changes_nothing_and_is_not_judged() -> None:
    recogniser, (mel, mask) = recogniser_of().requires_grad_(False), mels()
    said = torch.randint(VOCABULARY, mask.shape)
    together = recogniser(mel, mask)
    alone = recogniser(mel[1:, :21], mask[1:, :21])
    torch.testing.assert_close(together[1, :21], alone[0])
    spoilt, other = mel.clone(), said.clone()
    spoilt[1, 21:], other[1, 21:] = 9.0, 2
    assert torch.equal(recogniser.loss(mel, mask, said), recogniser.loss(spoilt, mask, other))
    # Pooled over the frames of both, in float64.
    logits = torch.log_softmax(together.double(), 2).gather(2, said[..., None])[..., 0]
    expected = -(logits[0].sum() + logits[1, :21].sum()) / 51
    assert float(recogniser.loss(mel, mask, said)) == pytest.approx(float(expected), abs=1e-5)


def test_what_a_microphone_adds_to_every_frame_is_not_heard() -> None:
    recogniser, (mel, mask) = recogniser_of(), mels()
    coloured = mel + torch.linspace(-0.5, 0.5, BANDS)
    torch.testing.assert_close(recogniser(coloured, mask), recogniser(mel, mask), atol=1e-4, rtol=0)


def test_texts_are_drawn_whole_and_by_the_generator_alone() -> None:
    recogniser = recogniser_of()
    whole = {tuple(text[text > 0].tolist()) for text in TEXTS}
    seen = set()
    for seed in range(20):
        texts, lengths = recogniser.drawn_texts(2, torch.Generator().manual_seed(seed))
        again, _ = recogniser.drawn_texts(2, torch.Generator().manual_seed(seed))
        assert torch.equal(texts, again)
        assert texts.shape == (2, TEXTS.shape[1])
        seen |= {tuple(text[:length].tolist()) for text, length in zip(texts, lengths, strict=True)}
    assert seen == whole


def test_an_excerpt_is_what_would_be_spoken() -> None:
    """Gradients are taken through it, so it must be what ``synthesize`` says and not something near it."""
    model = shaken(tiny_model(tiny_recipe())).model.eval()
    voice = voice_of_nobody(shaken(tiny_model(tiny_recipe())))
    texts, lengths = torch.tensor([[5, 9, 30, 12, 7], [8, 3, 11, 0, 0]]), torch.tensor([5, 3])
    both = Voice({name: value.expand(2, *value.shape[1:]) for name, value in voice.tensors.items()})
    with torch.no_grad():
        spoken, frames = model.synthesize(texts, lengths, both)
        whole = model.acoustic.excerpts(texts, lengths, both, 500, None)
        short = model.acoustic.excerpts(texts, lengths, both, 4, torch.Generator().manual_seed(1))
    assert whole.mask.sum(1).tolist() == frames.tolist()
    for row in range(2):
        torch.testing.assert_close(
            whole.mel[row][whole.mask[row]], spoken[row, : frames[row]], atol=1e-4, rtol=0
        )
        # A part is decoded by itself, as training does, and says a part of the same phonemes.
        ends = whole.places[row][whole.mask[row]].unfold(0, min(4, int(frames[row])), 1)
        assert bool((ends == short.places[row][short.mask[row]]).all(1).any())
    assert short.mel.shape[1] == 4


def test_a_base_keeps_its_judges_and_a_damaged_one_is_told_of(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    model = tiny_model(recipe)
    recogniser = recogniser_of(model.model.dimensions.vocabulary)
    path = tmp_path / "base.safetensors"
    write_base(path, BaseModel(model, recipe, "", Judges(recogniser=recogniser)))
    found = load_base(path)
    kept = found.judges.recogniser
    assert kept is not None
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    assert same(kept.state_dict(), {n: v.half().to(v) for n, v in recogniser.state_dict().items()})
    assert found.adapted({"personal": "vectors+lora"}).judges is found.judges
    assert found.judges.discriminator is None
    tensors = Judges(recogniser=recogniser).tensors
    for name, wrong in {
        "recogniser.texts": torch.tensor([[500]], dtype=torch.int16),
        "recogniser.phonemes.bias": torch.zeros(5),
        "recogniser.phonemes.weight": tensors["recogniser.phonemes.weight"] * torch.inf,
        "recogniser.layers.2.weight": torch.zeros(3),
        "recogniser.layers.0.weight": torch.zeros(()),
    }.items():
        with pytest.raises(CheckpointError, match="phoneme recogniser in the checkpoint"):
            judges_in(tensors | {name: wrong})
    with pytest.raises(CheckpointError, match="too long"):
        judges_in(tensors | {"recogniser.texts": torch.ones(1, 81, dtype=torch.int16)})
    # One that reads other phonemes than its model says.
    write_base(path, BaseModel(model, recipe, "", Judges(recogniser=recogniser_of())))
    with pytest.raises(CheckpointError, match="reads 9 phonemes in 80 bands"):
        load_base(path)
    with pytest.raises(CheckpointError, match="phoneme recogniser in the checkpoint"):
        judges_in({name: value for name, value in tensors.items() if name != "recogniser.texts"})
