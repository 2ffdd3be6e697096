"""From what is heard of a speaker, and what a voice keeps of its own, to a voice; and the gradients."""

from __future__ import annotations

import pytest
import torch
from opacus import GradSampleModule
from synthetic_batches import batch_of, random_features, reference_of, shake, small_model, voice_of_row

from shared_models.config import SpeakerConfig
from shared_models.errors import CheckpointError, RecipeError
from shared_models.losses import acoustic_loss
from shared_models.partition import Owner, Partition
from shared_models.speakers.heard import MEL, Heard, Reference, Signal
from shared_models.speakers.voice import require_fit
from shared_models.speakers.voices import NOBODY

ITEMS = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]


def test_a_new_voice_is_the_average_voice() -> None:
    model = small_model(voices=3, speaker=SpeakerConfig(sources=("table",)))
    voice = model.voice(Heard(torch.tensor([2, 0])))
    assert not voice["embedding"].any()
    assert not voice["prosody"].any()
    assert (voice["cln_scale"] == 1).all()
    assert not voice["cln_shift"].any()


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
    voice = model.voice(Heard.of([Reference({MEL: reference_of(25, 1)})]))
    style = model.mel_style.style(reference_of(25, 1)[None], torch.tensor([25]))
    embedding = model.voices.embedding.weight + style
    scale = model.cln_maps.scale(embedding) + model.voices.cln_scale.weight
    torch.testing.assert_close(voice["embedding"], embedding)
    torch.testing.assert_close(voice["cln_scale"].view(1, -1), scale)
    torch.testing.assert_close(voice["prosody"], model.voices.prosody.weight)
    assert voice["cln_scale"].shape == (1, d.sites, d.hidden)
    require_fit(voice, model.takes)


def test_one_speaker_s_voice_is_of_the_mean_style_and_not_a_mean_of_voices() -> None:
    model = small_model().eval()
    shake(model)
    references = [Reference({MEL: reference_of(frames, frames)}) for frames in (25, 40, 31)]
    voice = model.voice_of_speaker(Heard.of(references))
    each = [model.voice(Heard.of([reference])) for reference in references]
    mean = torch.cat([one["embedding"] for one in each]).mean(0, keepdim=True)
    torch.testing.assert_close(voice["embedding"], mean)
    assert len(voice) == 1
    # With maps that are not affine the two ways differ, and the embedding's mean is what counts.
    model.maps.forward = lambda embedding, _: {  # type: ignore[method-assign]
        name: (embedding @ torch.ones(16, 16)).square()[:, None].expand(-1, 9, -1)
        for name in ("cln_scale", "cln_shift")
    }
    found = model.voice_of_speaker(Heard.of(references))["cln_shift"] - model.voices.cln_shift.weight.view(
        1, 9, -1
    )
    torch.testing.assert_close(found[0, 0], (mean @ torch.ones(16, 16)).square()[0])
    averaged = torch.stack([(one["embedding"] @ torch.ones(16, 16)).square() for one in each]).mean(0)
    assert not torch.allclose(found[0, 0], averaged[0], rtol=1e-2)


def test_a_row_without_a_reference_among_others_is_the_voice_alone() -> None:
    model = small_model(voices=2).eval()
    shake(model)
    whole = Reference({MEL: reference_of(25, 1)})
    rows = torch.tensor([1, 1])
    voice = model.voice(Heard.of([whole, whole.excerpt(0, 0)], rows))
    alone = model.voice(Heard(torch.tensor([1])))
    torch.testing.assert_close(voice["cln_scale"][1:], alone["cln_scale"])
    assert not torch.allclose(voice["embedding"][0], voice["embedding"][1])


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


def test_maps_of_one_s_own_can_be_the_personal_set_instead_of_vectors() -> None:
    model = small_model(speaker=SpeakerConfig(personal="maps"))
    owners = Partition.of(model).owners
    personal = {n for n, o in owners.items() if o is Owner.PERSONAL}
    assert personal == {
        "own_maps.maps.scale.weight",
        "own_maps.maps.scale.bias",
        "own_maps.maps.shift.weight",
        "own_maps.maps.shift.bias",
        "voices.embedding.weight",
        "voices.prosody.weight",
    }
    assert acoustic_loss(model(batch_of(ITEMS)), batch_of(ITEMS)).total.isfinite()


def test_one_s_own_maps_change_what_everybody_s_make_and_a_base_is_the_same_with_vectors() -> None:
    vectors, maps = small_model(), small_model(speaker=SpeakerConfig(personal="maps")).eval()
    assert Partition.of(vectors).schema == Partition.of(maps).schema
    shake(maps)
    heard = Heard.of([Reference({MEL: reference_of(25, 1)})])
    voice = maps.voice(heard)
    both = {name: maps.maps.get_parameter(name) + own for name, own in maps.own_maps.maps.named_parameters()}
    scale = torch.nn.functional.linear(voice["embedding"], both["scale.weight"], both["scale.bias"])
    torch.testing.assert_close(voice["cln_scale"].flatten(1), scale, rtol=1e-5, atol=1e-5)
    maps.own_maps.reset()
    torch.testing.assert_close(maps.voice(heard)["cln_shift"].flatten(1), maps.maps.shift(voice["embedding"]))


@pytest.mark.parametrize("sources", [("table",), ("mel_style",), ("table", "mel_style"), ()])
def test_sources_are_there_when_the_recipe_names_them(sources: tuple[str, ...]) -> None:
    model = small_model(speaker=SpeakerConfig(sources=sources))
    assert tuple(model.sources) == sources
    assert hasattr(model, "mel_style") == ("mel_style" in sources)
    assert hasattr(model.voices, "embedding") == ("table" in sources)
    assert acoustic_loss(model(batch_of(ITEMS)), batch_of(ITEMS)).total.isfinite()
    assert len(voice_of_row(model)) == 1
    lacking = Heard(torch.tensor([0]), {"wave": Signal(torch.zeros(1, 9, 1), torch.tensor([9]))})
    if "mel_style" in sources:
        with pytest.raises(RecipeError, match=r"'mel_style', which hears 'mel'.*features\.signals"):
            model.voice(lacking)
    else:
        assert len(model.voice(lacking)) == 1


def test_a_voice_of_other_tensors_is_not_spoken_in() -> None:
    model, other = small_model().eval(), small_model(hidden=32)
    with pytest.raises(CheckpointError, match=r"embedding \(32,\).*takes.*embedding \(16,\)"):
        model.synthesize(torch.tensor([[3, 4]]), torch.tensor([2]), voice_of_row(other))


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
    references = [Reference({MEL: reference_of(30, 1)})] * 3
    with torch.no_grad():
        mixed = model.voice(Heard.of(references, torch.tensor([2, NOBODY, 1])))
        known = model.voice(Heard.of(references, torch.tensor([2, 0, 1])))
        model.voices.reset()
        newcomer = model.voice(Heard.of(references[:1], torch.tensor([0])))
    for name in mixed:
        torch.testing.assert_close(mixed[name][[0, 2]], known[name][[0, 2]])
        torch.testing.assert_close(mixed[name][1], newcomer[name][0])
        assert not torch.equal(mixed[name][1], known[name][1])
