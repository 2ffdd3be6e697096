"""Episodes of Meta-StyleSpeech: what is said, who learns from it, and that training goes on where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_batches import batch_of, random_features, shake, small_model
from tiny_federation import features_of_tests, tiny_recipe

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.base_model import load_base
from shared_models.config import Recipe, SpeakerConfig
from shared_models.errors import RecipeError
from shared_models.losses import acoustic_loss
from shared_models.recipes import find_recipe
from shared_models.seeds import generator
from simulations.centralised import train_centralised
from simulations.episodes import Episodes, recorded, said
from simulations.preparation import prepare
from simulations.pretraining import pretraining_recipe

CPU = torch.device("cpu")
ITEMS = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]
BATCH = batch_of(ITEMS, speakers=[0, 2, 1])
STYLES = SpeakerConfig(sources=("mel_style",), conditioning="saln", personal="none")


def a_model() -> VoiceModel:
    model = small_model(speaker=STYLES, dropout=0.0, voices=3).eval()
    shake(model, 0.05)
    return model


def a_recipe(**changes: Any) -> Recipe:
    fields = {"episodes.from_round": 1, "client.window_frames": None} | changes
    return Recipe(name="test").override(fields)


def test_a_query_is_the_next_text_in_each_ones_own_style() -> None:
    model = a_model()
    voice = model.voice(BATCH.heard)
    spoken = said(model, BATCH, voice)
    for number in range(3):
        text = ITEMS[number - 1].phonemes[None]
        alone = {name: tensor[number : number + 1] for name, tensor in voice.tensors.items()}
        mel, lengths = model.acoustic.synthesize(text, torch.tensor([text.shape[1]]), type(voice)(alone))
        frames = int(lengths)
        assert int(spoken.mask[number].sum()) == frames
        torch.testing.assert_close(spoken.mel[number, :frames], mel[0, :frames], rtol=1e-3, atol=1e-3)


def test_the_recorded_side_says_which_phoneme_sounds_in_each_frame() -> None:
    model, item = a_model(), ITEMS[0]
    assert BATCH.durations is not None
    assert item.durations is not None
    found = recorded(model, BATCH, BATCH.durations)
    expected = model.acoustic.embedding.weight[item.phonemes].repeat_interleave(item.durations, 0)
    torch.testing.assert_close(found.phonemes[0, : len(expected)], expected)
    assert found.mask.sum(1).tolist() == [len(one.mel) for one in ITEMS]
    assert not found.phonemes.requires_grad


def gradients(**changes: Any) -> dict[str, torch.Tensor]:
    model = a_model()
    recipe = a_recipe(**changes)
    Episodes(recipe, model, 3, CPU).loss(model, BATCH, recipe, generator(1)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_what_is_wrong_with_the_queries_reaches_style_encoder_decoder_and_predictors() -> None:
    whole, without = gradients(), gradients(**{"episodes.adversarial_weight": 0.0})
    moved = {
        name for name, gradient in whole.items() if not torch.allclose(gradient, without[name], rtol=1e-3)
    }
    assert {name.split(".")[0] for name in moved} >= {"mel_style", "saln_maps"}
    places = {".".join(name.split(".")[:2]) for name in moved}
    assert places >= {"acoustic.encoder", "acoustic.decoder", "acoustic.variance_adaptor", "acoustic.mel"}
    assert any(name.startswith("acoustic.variance_adaptor.pitch.") for name in moved)


def test_without_judges_the_loss_is_the_supports_with_its_mel_weighted() -> None:
    model, recipe = a_model(), a_recipe(**{"episodes.adversarial_weight": 0.0})
    found = Episodes(recipe, model, 3, CPU).loss(model, BATCH, recipe, generator(1))
    support = acoustic_loss(model(BATCH), BATCH)
    assert found.item() == pytest.approx((support.total + 9 * support.mel).item(), rel=1e-5)


def test_the_judges_learn_to_tell_recordings_from_queries_and_leave_the_model_alone() -> None:
    model, recipe = a_model(), a_recipe(**{"episodes.lr": 6e-3})
    episodes = Episodes(recipe, model, 3, CPU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(15):
        episodes.loss(model, BATCH, recipe, generator(1))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert BATCH.durations is not None
    real, query = recorded(model, BATCH, BATCH.durations), said(model, BATCH, model.voice(BATCH.heard))
    rows = BATCH.heard.rows
    assert (
        episodes.style(real.mel, real.mask, rows).mean()
        > episodes.style(query.mel, query.mask, rows).mean() + 0.2
    )
    told_apart = episodes.phoneme(real.mel, real.phonemes, real.mask).mean()
    assert told_apart > episodes.phoneme(query.mel, query.phonemes, query.mask).mean() + 0.2
    styles = model.embedding(BATCH.heard)
    assert (styles @ episodes.style.prototypes.T).argmax(1).tolist() == rows.tolist()


def test_of_nobody_no_style_is_judged() -> None:
    model, recipe = a_model(), a_recipe()
    nobody = replace(BATCH, heard=replace(BATCH.heard, rows=torch.full((3,), -1)))
    episodes = Episodes(recipe, model, 3, CPU)
    begun = {name: value.clone() for name, value in episodes.style.named_parameters()}
    loss = episodes.loss(model, nobody, recipe, generator(1))
    assert bool(torch.isfinite(loss))
    for name, value in episodes.style.named_parameters():
        assert torch.equal(value, begun[name]), name


def test_training_goes_on_bit_by_bit_where_it_was_interrupted(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        federation__algorithm="centralised", federation__rounds=2, client__decay_from=1.0, episodes__from_round=1,
        speaker__sources=["mel_style"], speaker__conditioning="saln", speaker__personal="none",
        federation__cohort=2, corpus__speakers=2, client__outer_steps=1,
    )  # fmt: skip
    data = prepare(recipe, features_of_tests())
    whole = train_centralised(data.recipe, data, tmp_path / "whole")
    train_centralised(data.recipe.override({"federation.rounds": 1}), data, tmp_path / "parts")
    assert torch.equal(train_centralised(data.recipe, data, tmp_path / "parts"), whole)
    # Clones are made on it, without the judges that it was trained before.
    base = load_base(tmp_path / "whole")
    assert torch.equal(base.model.shared_vector(), whole)
    assert base.judges.discriminator is None
    plain = data.recipe.override({"episodes.from_round": 3})
    assert not torch.equal(train_centralised(plain, data, tmp_path / "plain"), whole)


def test_the_recipe_trains_plainly_first_and_in_episodes_after_that() -> None:
    recipe = find_recipe("meta_stylespeech")
    public = pretraining_recipe(recipe)
    assert public.episodes.from_round is not None
    assert 1 < public.episodes.from_round < public.federation.rounds


def test_two_kinds_of_discriminators_at_once_are_refused() -> None:
    with pytest.raises(RecipeError, match="leave one of them out"):
        a_recipe(**{"adversarial.weight": 0.5})
