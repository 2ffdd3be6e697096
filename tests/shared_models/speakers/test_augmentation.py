"""References that are changed in training: each change against what it is called, and that nothing else is touched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_federation import random_speech, tiny_recipe
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from client.learning.material import draw_batch
from shared_models.audio.mel import SAMPLE_RATE, log_mel
from shared_models.audio.signals import extractor
from shared_models.config import AugmentationConfig
from shared_models.errors import RecipeError
from shared_models.speakers.augmentation import Perturbation, Scale, _hertz, _share_of_scale, perturbed
from shared_models.speakers.content import PHONEMES
from shared_models.speakers.heard import MEL, Reference

SETTINGS = AugmentationConfig.model_validate({"share": 1.0})
SIGNALS = (MEL, "power_mel", "filterbanks_40", "filterbanks_80")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_by_default_nothing_is_changed_and_nothing_drawn() -> None:
    reference, generator = random_speech(1)[0].reference, rng()
    before = generator.get_state()
    assert perturbed(reference, AugmentationConfig.model_validate({}), generator) is reference
    assert torch.equal(generator.get_state(), before)


def test_what_is_spoken_stays_and_what_is_heard_changes() -> None:
    utterances = random_speech(4)
    recipes = [tiny_recipe(augmentation__share=share, speaker__reference_dropout=0.0) for share in (0.0, 1.0)]
    plain, changed = (draw_batch(utterances, recipe, rng(3)) for recipe in recipes)
    for name in ("phonemes", "mel", "log_f0", "energy", "durations"):
        assert torch.equal(getattr(plain, name), getattr(changed, name))
    mels = [batch.heard.signals[MEL] for batch in (plain, changed)]
    assert not torch.equal(mels[0].lengths, mels[1].lengths)
    assert bool(torch.isfinite(mels[1].values).all())


def test_a_share_of_the_references_is_changed() -> None:
    settings, reference, generator = (
        SETTINGS.model_copy(update={"share": 0.3}),
        random_speech(1)[0].reference,
        rng(1),
    )
    changed = sum(perturbed(reference, settings, generator) is not reference for _ in range(200))
    # Outside of these bounds once in a thousand million.
    assert 20 < changed < 100


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_speed_is_how_many_frames_are_left_and_between_them_it_is_linear(speed: float) -> None:
    mel = torch.randn(50, 80, generator=rng())
    found = Perturbation(speed=speed).of_signal(MEL, mel)
    assert len(found) == round(50 / speed)
    places = np.linspace(0, 49, len(found))
    for band in (0, 41, 79):
        expected = np.interp(places, np.arange(50), mel[:, band].numpy())
        np.testing.assert_allclose(found[:, band].numpy(), expected, atol=1e-5)


def test_warping_moves_one_point_and_keeps_both_ends() -> None:
    ramp = torch.arange(101.0)[:, None].expand(-1, 80)
    found = Perturbation(warp=(0.3, 0.4)).of_signal(MEL, ramp)[:, 0]
    expected = np.interp(np.arange(101), [0, 40, 100], [0, 30, 100])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_scales_are_those_of_the_filters(scale: Scale) -> None:
    filters = melscale_fbanks(16_001, 0.0, 8000.0, 20, 16_000, mel_scale=scale)
    centres = filters.argmax(0).double() * 0.5
    found = _hertz(scale, torch.arange(1, 21, dtype=torch.float64) / 21)
    assert float((found - centres).abs().max()) < 1.0
    back = _share_of_scale(scale, found) * 21
    torch.testing.assert_close(back, torch.arange(1, 21, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("semitones", [-3.0, 4.0])
def test_pitch_moves_a_tone_to_where_the_other_tone_is(name: str, semitones: float) -> None:
    def heard(hertz: float) -> Tensor:
        wave = 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(11_025) / SAMPLE_RATE)
        return log_mel(wave) if name == MEL else extractor(name)(wave)

    shifted = Perturbation(semitones=semitones).of_signal(name, heard(1600.0))
    there = heard(1600.0 * 2 ** (semitones / 12))
    assert shifted.shape == there.shape
    peaks = [int(signal[10:-10].double().mean(0).argmax()) for signal in (shifted, there)]
    assert abs(peaks[0] - peaks[1]) <= 1
    assert abs(peaks[1] - int(heard(1600.0)[10:-10].double().mean(0).argmax())) >= 2


@pytest.mark.parametrize("name", ["power_mel", "filterbanks_80"])
def test_noise_is_so_many_decibels_below_the_speech(name: str) -> None:
    power = torch.rand(2000, 40, generator=rng(1)).square() + 0.01
    signal = power if name == "power_mel" else 10 * power.log10()
    found = Perturbation(snr=10.0, seed=3).of_signal(name, signal)
    after = found if name == "power_mel" else 10 ** (found / 10)
    assert float((after - power).mean() / power.mean()) == pytest.approx(0.1, rel=0.02)
    again = Perturbation(snr=10.0, seed=3).of_signal(name, signal)
    assert torch.equal(found, again)


def test_masks_blank_with_the_mean_and_leave_the_rest() -> None:
    mel = torch.randn(40, 80, generator=rng(2))
    found = Perturbation(time_masks=((0.25, 0.5),), band_masks=((0.5, 0.6),)).of_signal(MEL, mel)
    blank = torch.zeros(40, 80, dtype=torch.bool)
    blank[10:20] = True
    blank[:, 40:48] = True
    torch.testing.assert_close(found[~blank], mel[~blank], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[blank], mel.mean().expand(int(blank.sum())))


def test_one_draw_changes_all_signals_of_a_reference_alike() -> None:
    frames = 60
    signals = {MEL: torch.randn(frames, 80, generator=rng(1)), "power_mel": torch.rand(70, 40, generator=rng(2)),
               PHONEMES: torch.arange(frames)[:, None].float()}  # fmt: skip
    drawn = Perturbation.drawn(SETTINGS, frames, rng(5))
    found = drawn.of(Reference(signals))
    assert len(found.signals[PHONEMES]) == found.frames == round(frames / drawn.speed)
    assert len(found.signals["power_mel"]) == round(70 / drawn.speed)
    # Phonemes are those of the frames that are heard.
    ramp = Perturbation(speed=drawn.speed, warp=drawn.warp).of_signal(
        MEL, torch.arange(frames).float()[:, None].expand(-1, 80)
    )
    assert float((found.signals[PHONEMES] - ramp[:, :1]).abs().max()) <= 0.5 + 1e-3
    assert 0.9 <= drawn.speed <= 1.1
    assert -1 <= drawn.semitones <= 1
    assert all(
        0 <= start <= end <= 1 and end - start <= 10 / frames + 1e-9 for start, end in drawn.time_masks
    )


def test_a_waveform_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'wave'.*augmentation\.share to 0"):
        tiny_recipe(augmentation__share=0.5, features__signals=["wave"])
    with pytest.raises(RecipeError, match=r"heard as 'wave' too"):
        Perturbation().of_signal("wave", torch.zeros(10, 1))
