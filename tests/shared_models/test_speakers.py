"""What conditions the model on a speaker: voices, sources, maps, and their gradients."""

from __future__ import annotations

import pytest
import torch
from opacus import GradSampleModule
from synthetic_batches import batch_of, random_features, reference_of, shake, small_model

from shared_models.config import SpeakerConfig
from shared_models.errors import RecipeError
from shared_models.losses import acoustic_loss
from shared_models.partition import Owner, Partition
from shared_models.speakers.condition import condition_from_vectors, serving_vectors
from shared_models.speakers.mel_style import MelStyleEncoder
from shared_models.speakers.voices import NOBODY, Voices

ITEMS = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]


def test_a_new_voice_is_the_average_voice() -> None:
    model = small_model(voices=3, speaker=SpeakerConfig(sources=("table",)))
    condition = model.condition_of(torch.tensor([2, 0]))
    assert not condition.embedding.any()
    assert not condition.prosody.any()
    assert (condition.cln_scale == 1).all()
    assert not condition.cln_shift.any()


def test_a_row_is_one_voice_and_moves_no_other() -> None:
    model = small_model(voices=3).eval()
    batch = batch_of(ITEMS, speakers=[0, 1, 2])
    before = model(batch).mel
    with torch.no_grad():
        for table in (model.voices.embedding, model.voices.cln_scale, model.voices.cln_shift):
            table.weight[1] += 0.3
    after = model(batch).mel
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])


def test_scales_are_the_maps_of_the_embedding_plus_the_voice_s_offsets() -> None:
    model = small_model().eval()
    shake(model)
    d = model.dimensions
    reference, lengths = reference_of(25, 1)[None], torch.tensor([25])
    condition = model.condition_of(torch.tensor([0]), reference, lengths)
    embedding = model.voices.embedding.weight + model.mel_style(reference, lengths)
    scale = model.cln_maps.scale(embedding) + model.voices.cln_scale.weight
    torch.testing.assert_close(condition.embedding, embedding)
    torch.testing.assert_close(condition.cln_scale.view(1, -1), scale)
    assert condition.cln_scale.shape == (1, d.sites, d.hidden)


def test_the_folded_vectors_are_all_that_synthesis_needs() -> None:
    model = small_model().eval()
    shake(model)
    d = model.dimensions
    condition = model.condition(batch_of(ITEMS[:2]))
    vectors = serving_vectors(condition)
    assert vectors.shape == (2, d.personal)
    unfolded = condition_from_vectors(
        vectors, embedding=d.embedding, sites=d.sites, hidden=d.hidden, prosody=d.prosody
    )
    batch = batch_of(ITEMS[:2])
    first, _ = model.synthesize(batch.phonemes, batch.phoneme_lengths, condition)
    second, _ = model.synthesize(batch.phonemes, batch.phoneme_lengths, unfolded)
    assert torch.equal(first, second)
    assert unfolded.mean().embedding.shape == (1, d.embedding)
    with pytest.raises(ValueError, match="another recipe"):
        condition_from_vectors(
            vectors[:, 1:], embedding=d.embedding, sites=d.sites, hidden=d.hidden, prosody=4
        )


def test_opacus_gives_each_utterance_s_own_gradient() -> None:
    model = small_model(voices=2, dropout=0.0)  # Opacus looks on in training mode only
    shake(model, 0.05)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("voices."))
    wrapped = GradSampleModule(model, batch_first=True, loss_reduction="mean", strict=True)
    batch = batch_of(ITEMS, speakers=[0, 1, 0])
    acoustic_loss(wrapped(batch), batch).total.backward()
    samples = {n: p.grad_sample.clone() for n, p in model.voices.named_parameters()}
    wrapped.to_standard_module()
    for row, item in enumerate(ITEMS):
        model.zero_grad()
        one = batch_of([item], speakers=[[0, 1, 0][row]])
        acoustic_loss(model(one), one).total.backward()
        for name, parameter in model.voices.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(samples[name][row], parameter.grad, rtol=1e-4, atol=1e-5)


def test_maps_can_be_the_personal_set_instead_of_vectors() -> None:
    model = small_model(speaker=SpeakerConfig(personal="maps"))
    owners = Partition.of(model).owners
    personal = {n for n, o in owners.items() if o is Owner.PERSONAL}
    assert personal == {
        "cln_maps.scale.weight",
        "cln_maps.scale.bias",
        "cln_maps.shift.weight",
        "cln_maps.shift.bias",
        "voices.embedding.weight",
        "voices.prosody.weight",
    }
    assert acoustic_loss(model(batch_of(ITEMS)), batch_of(ITEMS)).total.isfinite()


@pytest.mark.parametrize("sources", [("table",), ("mel_style",), ("table", "mel_style")])
def test_sources_are_there_when_the_recipe_names_them(sources: tuple[str, ...]) -> None:
    model = small_model(speaker=SpeakerConfig(sources=sources))
    assert (model.mel_style is not None) == ("mel_style" in sources)
    assert (model.voices.embedding is not None) == ("table" in sources)
    model(batch_of(ITEMS))
    if "mel_style" in sources:
        with pytest.raises(RecipeError, match="reference recording"):
            model.condition_of(torch.tensor([0]))
    else:
        model.condition_of(torch.tensor([0]))


def test_the_reference_encoder_reads_its_own_frames_and_nothing_else() -> None:
    torch.manual_seed(0)
    encoder = MelStyleEncoder(80, 16, channels=32, dropout=0.1).eval()
    short, long = reference_of(20, 1), reference_of(35, 2)
    padded = torch.zeros(2, 35, 80)
    padded[0, :20], padded[1] = short, long
    padded[0, 20:] = 50.0
    together = encoder(padded, torch.tensor([20, 35]))
    torch.testing.assert_close(together[:1], encoder(short[None], torch.tensor([20])), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[1:], encoder(long[None], torch.tensor([35])), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_tables_start_at_zero_and_draw_no_random_numbers() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    voices = Voices(7, embedding=4, sites=2, hidden=3, prosody=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(not p.any() for p in voices.parameters())
    assert sum(p.numel() for p in voices.parameters()) == 7 * (4 + 2 * 2 * 3 + 4)


def test_a_few_personal_steps_learn_a_voice_s_register_and_rate() -> None:
    """Prosody is what makes a voice's pitch and speed learnable by four numbers, with all else frozen."""
    torch.manual_seed(0)
    model = small_model(speaker=SpeakerConfig(sources=("table",)), dropout=0.0)
    batch = batch_of(ITEMS)
    batch.log_f0.add_(0.4)
    optimizer = torch.optim.Adam(model.voices.parameters(), lr=0.1)
    first = acoustic_loss(model(batch), batch)
    for _ in range(30):
        optimizer.zero_grad()
        acoustic_loss(model(batch), batch).total.backward()
        optimizer.step()
    last = acoustic_loss(model(batch), batch)
    assert last.pitch < 0.5 * first.pitch
    assert last.duration < 0.5 * first.duration


def test_the_row_of_nobody_is_a_newcomer_s() -> None:
    model = small_model(voices=3).eval()
    shake(model)
    reference, lengths = torch.stack([reference_of(30, 1)] * 3), torch.tensor([30, 30, 30])
    with torch.no_grad():
        mixed = model.condition_of(torch.tensor([2, NOBODY, 1]), reference, lengths)
        known = model.condition_of(torch.tensor([2, 0, 1]), reference, lengths)
        model.voices.prosody.weight.zero_()
        for table in (model.voices.embedding, model.voices.cln_scale, model.voices.cln_shift):
            assert table is not None
            table.weight.zero_()
        newcomer = model.condition_of(torch.tensor([0]), reference[:1], lengths[:1])
    for found, own, new in zip(mixed._tensors(), known._tensors(), newcomer._tensors(), strict=True):
        torch.testing.assert_close(found[[0, 2]], own[[0, 2]])
        torch.testing.assert_close(found[1], new[0])
        assert not torch.equal(found[1], own[1])
