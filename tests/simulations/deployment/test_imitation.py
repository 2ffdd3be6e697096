"""A pruned model is taught to speak as the whole one does, in free running."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_federation import features_of_tests, random_speech, shaken, tiny_model, tiny_recipe
from torch import Tensor

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.base_model import BaseModel, load_base
from shared_models.export.pruning import prune_acoustic
from shared_models.features import collate
from shared_models.seeds import generator
from shared_models.speakers.voice import Voice
from simulations.deployment.imitation import Imitation, imitation_loss, speak_along, speak_freely
from simulations.deployment.pruned_base import Pruning, prune_base
from simulations.deployment.tuning import Tuning, prepare_tuning, save_base

RECIPE = tiny_recipe(aligner__learn="never", model__filter=128, model__dropout=0.1)


def whole(**changes: object) -> VoiceModel:
    recipe = RECIPE.override({name.replace("__", "."): value for name, value in changes.items()})
    return shaken(tiny_model(recipe), 0.05).model.eval()


def speech_batch(count: int = 3):  # type: ignore[no-untyped-def]
    speech = random_speech(count)
    return collate(speech, [f.reference for f in speech])


def test_free_speech_is_what_synthesis_gives_and_any_window_is_a_part_of_it() -> None:
    model, batch = whole(), speech_batch()
    with torch.no_grad():
        voice = model.voice(batch.heard)
        mel, lengths = model.synthesize(batch.phonemes, batch.phoneme_lengths, voice)
        free = speak_freely(model.acoustic, batch, voice, None, generator(1, "x"))
        part = speak_freely(model.acoustic, batch, voice, 20, generator(1, "x"))
    assert torch.equal(free.durations.sum(1), lengths)
    assert torch.allclose(free.mel * free.frame_mask[..., None], mel, atol=1e-5)
    assert part.mel.shape[1] == min(20, int(lengths.max()))
    assert torch.equal(part.durations, free.durations)
    assert ((part.excerpt.starts >= 0) & (part.excerpt.starts <= (lengths - 20).clamp_min(0))).all()


@pytest.mark.parametrize("source", ["none", "harmonics"])
def test_who_speaks_along_with_itself_says_the_same(source: str) -> None:
    model, batch = whole(model__source=source), speech_batch()
    with torch.no_grad():
        voice = model.voice(batch.heard)
        led = speak_freely(model.acoustic, batch, voice, 24, generator(2, "x"))
        along = speak_along(model.acoustic, batch, voice, led)
    assert torch.allclose(along.mel, led.mel, atol=1e-6)
    assert len(along.encoder) == len(led.encoder) == RECIPE.model.encoder_layers
    loss = 0.0
    if led.contours is not None:
        # Voicing that is not quite certain has a cross-entropy, with what it is decided to be as well.
        doubt = torch.log1p(torch.exp(-led.contours.voicing.abs())) * led.frame_mask
        loss = 0.5 * (doubt.sum(1) / led.frame_mask.sum(1)).mean().item()
        assert loss > 0.01
    assert imitation_loss(along, led).item() == pytest.approx(loss, abs=1e-5)


def test_the_loss_is_its_parts_written_out_one_utterance_at_a_time() -> None:
    model, batch = whole(), speech_batch(1)
    other, _ = prune_acoustic(model, RECIPE, 64)
    with torch.no_grad():
        voice = model.voice(batch.heard)
        led = speak_freely(model.acoustic, batch, voice, None, generator(3, "x"))
        mine = speak_along(other.eval().acoustic, batch, voice, led)

    def squared(name: str) -> Tensor:
        return (getattr(mine.variances, name) - getattr(led.variances, name)).double().square().mean()

    pairs = [*zip(mine.encoder, led.encoder, strict=True), *zip(mine.decoder, led.decoder, strict=True)]
    blocks = [(a - b).double().square().sum() / b.double().square().sum() for a, b in pairs]
    expected = (mine.mel - led.mel).double().abs().mean() + torch.stack(blocks).mean()
    expected = expected + 0.5 * sum(map(squared, ("log_duration", "pitch", "energy")))
    assert imitation_loss(mine, led).item() == pytest.approx(expected.item(), rel=1e-4)


def test_padding_changes_nothing() -> None:
    model, speech = whole(), random_speech(2)
    other, _ = prune_acoustic(model, RECIPE, 64)
    other.eval()
    alone = []
    with torch.no_grad():
        for count in (1, 2):
            batch = collate(speech[:count], [f.reference for f in speech[:count]])
            voice = model.voice(batch.heard)
            led = speak_freely(model.acoustic, batch, voice, None, generator(3, "x"))
            mine = speak_along(other.acoustic, batch, voice, led)
            frames = int(led.durations[0].sum())
            alone.append((led.mel[0, :frames], mine.mel[0, :frames]))
    assert torch.allclose(alone[0][0], alone[1][0], atol=1e-5)
    assert torch.allclose(alone[0][1], alone[1][1], atol=1e-5)


def test_known_voices_speak_half_of_the_time_and_nothing_reaches_the_teacher() -> None:
    model, batch = whole(), speech_batch(4)
    student, _ = prune_acoustic(model, RECIPE, 64)
    known = Voice({declared.name: torch.full((1, *declared.shape), 3.0) for declared in model.takes})
    lesson = Imitation(model, student, 16, [known])
    rng = generator(5, "x")
    with torch.no_grad():
        heard = model.voice(batch.heard)
        drawn = [lesson._drawn_voices(batch, rng)["embedding"] for _ in range(100)]
    is_known = torch.stack(drawn)[..., 0] == 3.0
    assert 0.4 < is_known.float().mean() < 0.6
    for embedding, mask in zip(drawn, is_known, strict=True):
        assert torch.equal(embedding[~mask], heard["embedding"][~mask])
    torch.autograd.backward(lesson(batch, rng))
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in student.acoustic.decoder.parameters())


def test_what_pruning_took_comes_back_and_the_sources_of_the_voice_stay(tmp_path: Path) -> None:
    tuning = Tuning(steps=100, batch_size=4, lr=3e-3, cache=features_of_tests())
    path = tmp_path / "base.safetensors"
    save_base(path, BaseModel(shaken(tiny_model(RECIPE), 0.1), RECIPE, ""), RECIPE)
    base = load_base(path)
    data = prepare_tuning(base.recipe, tuning)
    cut = prune_base(base, Pruning(1.5), tmp_path / "cut")
    taught = prune_base(base, Pruning(1.5), tmp_path / "taught", tuning, data)
    batch = speech_batch(4)

    def distance(pruned: BaseModel) -> float:
        with torch.no_grad():
            lesson = Imitation(base.model.model, pruned.model.model, None)
            return lesson(batch, generator(7, "x")).item()

    assert distance(taught) < 0.7 * distance(cut)
    before, after = base.model.model.state_dict(), taught.model.model.state_dict()
    sources = [name for name in before if not name.startswith(("acoustic.", "voices."))]
    assert sources
    assert all(torch.equal(before[name], after[name]) for name in sources)
