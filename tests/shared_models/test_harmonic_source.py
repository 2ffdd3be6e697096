"""The decoder's source: what is drawn, what is told, what is predicted, and that nobody else's frames matter."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_batches import batch_of, in_float64, random_features, shake, small_model, voice_of_row

from shared_models.acoustic.harmonic_source import (
    Contours,
    HarmonicBands,
    PredictedContours,
    recorded_contours,
)
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.mel import SAMPLE_RATE, log_mel
from shared_models.audio.normalisation import PITCH_CENTRE, PITCH_SPREAD, SEMITONE
from shared_models.config import SpeakerConfig
from shared_models.layers.sequences import Excerpt
from shared_models.losses import acoustic_loss, contour_loss
from shared_models.speakers.heard import MEL

ITEMS = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]


def model_with_source(**sizes: object) -> VoiceModel:
    return small_model(source="harmonics", durations="mean", **sizes)


@pytest.mark.parametrize("hertz", [90.0, 147.0, 230.0, 410.0])
def test_harmonics_are_drawn_where_those_of_a_pulse_train_lie(hertz: float) -> None:
    period = torch.arange(SAMPLE_RATE) / SAMPLE_RATE * hertz
    wave = sum(torch.cos(2 * math.pi * k * period) for k in range(1, int(8000 / hertz) + 1))
    heard = log_mel(0.05 * torch.as_tensor(wave))[40]
    pitch = torch.tensor((math.log(hertz) - PITCH_CENTRE) / PITCH_SPREAD)
    drawn = HarmonicBands()(pitch)
    assert drawn.shape == (80,)
    # Below 2 kHz, where harmonics stand apart; what is drawn has no slope over the bands, what is heard has little.
    low = slice(2, 45)
    assert np.corrcoef(drawn[low].numpy(), heard[low].numpy())[0, 1] > 0.9
    other = HarmonicBands()(pitch + 2.5 * SEMITONE)
    assert np.corrcoef(other[low].numpy(), heard[low].numpy())[0, 1] < 0.7


def test_drawings_say_nothing_of_loudness_and_stop_at_the_ends_of_the_table() -> None:
    bands = HarmonicBands()
    drawn = bands(torch.linspace(-2, 3, 50))
    assert drawn.mean(1).abs().max() < 1e-5
    assert torch.equal(bands(torch.tensor(-9.0)), bands(torch.tensor(-99.0)))
    assert torch.equal(bands(torch.tensor(9.0)), bands(torch.tensor(99.0)))


def test_unvoiced_frames_are_shown_no_harmonics_and_told_no_pitch() -> None:
    model = model_with_source().eval()
    shake(model)
    source = model.acoustic.source
    assert source is not None
    voiced = torch.tensor([[1.0, 0.0, 1.0]])
    first = Contours(torch.tensor([[0.1, 0.2, 0.3]]), voiced, torch.zeros(1, 3))
    second = replace(first, pitch=torch.tensor([[0.1, 2.0, 0.3]]))
    assert (source.draw(first)[0, 1] == 0).all()
    assert torch.equal(source.draw(first), source.draw(second))
    assert torch.equal(source.enter(first, source.draw(first)), source.enter(second, source.draw(second)))


def test_training_tells_the_recording_s_contours_of_the_window() -> None:
    model = model_with_source().eval()
    shake(model)
    batch = batch_of(ITEMS)
    draw = torch.Generator().manual_seed
    with torch.no_grad():
        output = model(batch, window=24, generator=draw(3))
        assert output.contours is not None
        for row, item in enumerate(ITEMS):
            start = int(output.starts[row])
            expected = (item.log_f0[start : start + 24] - PITCH_CENTRE) / PITCH_SPREAD
            torch.testing.assert_close(output.contours.pitch[row], expected.clamp(-3.5, 3.5))
            assert output.contours.voiced[row].tolist() == item.voiced[start : start + 24].float().tolist()
        # A fifth higher: heard in voiced utterances, at the same window.
        higher = replace(batch, log_f0=batch.log_f0 + 0.4)
        assert not torch.equal(output.mel, model(higher, window=24, generator=draw(3)).mel)


def test_a_batch_gives_what_its_utterances_give_alone() -> None:
    model = model_with_source().eval().double()
    shake(model)
    with torch.no_grad():
        together = model(in_float64(batch_of(ITEMS)))
        losses = acoustic_loss(together, in_float64(batch_of(ITEMS)), per_utterance=True)
        for row, item in enumerate(ITEMS):
            batch = in_float64(batch_of([item]))
            alone = model(batch)
            torch.testing.assert_close(together.mel[row, : len(item.mel)], alone.mel[0], rtol=1e-9, atol=1e-9)
            own = acoustic_loss(alone, batch, per_utterance=True)
            torch.testing.assert_close(losses.total[row], own.total[0])
            assert losses.contours is not None
            assert own.contours is not None
            torch.testing.assert_close(losses.contours[row], own.contours[0])


def test_the_contour_loss_against_its_definition() -> None:
    predicted = PredictedContours(
        torch.tensor([[0.0, 1.0, 5.0]]), torch.tensor([[2.0, -1.0, 9.0]]), torch.tensor([[1.0, 1.0, 7.0]])
    )
    actual = Contours(
        torch.tensor([[0.5, 9.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[0.0, 3.0, 0.0]])
    )
    mask = torch.tensor([[True, True, False]])
    voicing = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert contour_loss(predicted, actual, mask).item() == pytest.approx(0.5 + (1 + 2) / 2 + voicing)
    nothing_voiced = replace(actual, voiced=torch.zeros(1, 3))
    assert contour_loss(predicted, nothing_voiced, mask).isfinite().all()


def test_controls_and_prosody_move_the_contours() -> None:
    only_table = small_model(
        source="harmonics", speaker=SpeakerConfig(sources=("table",)), durations="mean"
    ).eval()
    shake(only_table, 0.1)
    source = only_table.acoustic.source
    assert source is not None
    told: list[PredictedContours] = []
    source.contours.register_forward_hook(lambda _module, _inputs, out: told.append(out))
    phonemes, length = torch.tensor([[4, 5, 6, 7]]), torch.tensor([4])
    with torch.no_grad():
        only_table.voices.prosody.weight.zero_()
        # What frames add to their phonemes' pitch does not depend on it here, so that a shift is a shift.
        source.contours.convolutions[0].weight[:, -4:-2] = 0
        only_table.acoustic.variance_adaptor.pitch_embedding.weight.zero_()
        only_table.acoustic.variance_adaptor.energy_embedding.weight.zero_()

        def contours(**controls: float) -> PredictedContours:
            only_table.synthesize(phonemes, length, voice_of_row(only_table), **controls)
            return told[-1]

        plain = contours()
        torch.testing.assert_close(contours(pitch_shift=2.0).pitch, plain.pitch + 2 * SEMITONE)
        torch.testing.assert_close(contours(energy_scale=2.0).voicing, plain.voicing)
        louder = contours(energy_scale=2.0).energy - plain.energy
        torch.testing.assert_close(louder, torch.full_like(louder, math.log(2) / 1.8), rtol=1e-3, atol=1e-4)
        only_table.voices.prosody.weight[0, 1] = math.log(2.0)  # twice the range
        torch.testing.assert_close(contours().pitch, 2 * plain.pitch)


def test_every_predictor_hears_the_speaker() -> None:
    model = model_with_source().eval()
    shake(model)
    batch = batch_of([ITEMS[0], ITEMS[0]])
    heard_mels = batch.heard.signals[MEL].values
    heard_mels[1] = heard_mels[1].flip(1) - 3
    with torch.no_grad():
        output = model(batch)
    assert output.predicted_contours is not None
    for heard in (
        output.predicted.log_duration,
        output.predicted.pitch,
        output.predicted.energy,
        output.predicted_contours.pitch,
        output.predicted_contours.voicing,
        output.predicted_contours.energy,
    ):
        assert (heard[0] - heard[1]).abs().mean() > 1e-3


def test_every_parameter_of_the_source_is_trained() -> None:
    model = model_with_source()
    shake(model, 0.05)
    acoustic_loss(model(batch_of(ITEMS)), batch_of(ITEMS)).total.backward()
    assert model.acoustic.source is not None
    silent = [n for n, p in model.acoustic.source.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_recorded_contours_beyond_the_end_are_masked_and_not_missing() -> None:
    batch = batch_of(ITEMS)
    found = recorded_contours(batch, Excerpt(torch.tensor([50, 30, 20]), torch.tensor([10, 11, 13]), 20, 60))
    assert found.pitch.shape == found.voiced.shape == found.energy.shape == (3, 20)


def test_a_model_without_a_source_starts_as_it_always_did() -> None:
    plain, told = small_model(), small_model(source="harmonics")
    assert plain.acoustic.source is None
    for name, parameter in plain.named_parameters():
        if name.startswith("acoustic."):
            assert torch.equal(parameter, told.get_parameter(name)), name


def test_pitch_is_spoken_as_wide_as_the_recipe_says() -> None:
    told: list[torch.Tensor] = []
    for spread in (1.0, 1.6):
        only_table = SpeakerConfig(sources=("table",))
        model = small_model(source="harmonics", pitch_spread=spread, speaker=only_table).eval()
        shake(model, 0.1)
        assert model.acoustic.source is not None
        model.acoustic.source.contours.register_forward_pre_hook(
            lambda _, args: told.append(args[0][..., -4])
        )
        with torch.no_grad():
            model.acoustic.variance_adaptor.duration.output.weight.zero_()
            model.acoustic.variance_adaptor.duration.output.bias.fill_(math.log(6.0))
            model.synthesize(torch.tensor([[4, 5, 6, 7, 8]]), torch.tensor([5]), voice_of_row(model))
    plain, wide = told
    assert plain.std() > 0
    torch.testing.assert_close(wide - plain.mean(), 1.6 * (plain - plain.mean()), rtol=1e-4, atol=1e-5)
