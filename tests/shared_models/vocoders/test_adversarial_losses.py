"""Losses of vocoders, against values worked out another way."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared_models.audio.mel import HOP, SAMPLE_RATE, log_mel
from shared_models.vocoders.adversarial_losses import (
    discriminator_loss,
    feature_matching_loss,
    full_band_log_mel,
    generator_loss,
    mel_loss,
    multi_resolution_stft_loss,
)
from shared_models.vocoders.discriminators import Judgement, build_discriminator

numbers = st.floats(-3, 3)


def _judgement(*scores: float) -> Judgement:
    return Judgement(tuple(torch.tensor([[score]]) for score in scores), tuple(() for _ in scores))


@given(numbers, numbers, numbers, numbers)
def test_least_squares_by_hand(a: float, b: float, c: float, d: float) -> None:
    real, generated = _judgement(a, b), _judgement(c, d)
    expected = (1 - a) ** 2 + (1 - b) ** 2 + c**2 + d**2
    assert discriminator_loss(real, generated, "lsgan").item() == pytest.approx(expected, abs=1e-4)
    assert generator_loss(generated, "lsgan").item() == pytest.approx((1 - c) ** 2 + (1 - d) ** 2, abs=1e-4)


@given(numbers, numbers)
def test_hinge_by_hand(a: float, b: float) -> None:
    real, generated = _judgement(a), _judgement(b)
    expected = max(0.0, 1 - a) + max(0.0, 1 + b)
    assert discriminator_loss(real, generated, "hinge").item() == pytest.approx(expected, abs=1e-5)
    assert generator_loss(generated, "hinge").item() == pytest.approx(-b, abs=1e-5)


@pytest.mark.parametrize("kind", ["period", "light_spectrogram", "melgan"])
def test_feature_matching_is_zero_for_equal_waves_alone(kind: str) -> None:
    judge = build_discriminator(kind, 1 / 16).eval()
    wave = torch.randn(2, 4096)
    assert feature_matching_loss(judge(wave), judge(wave.clone())).item() == 0
    assert feature_matching_loss(judge(wave), judge(wave + 0.1 * torch.randn(2, 4096))).item() > 0


def test_feature_matching_leaves_the_real_side_alone() -> None:
    real = torch.ones(1, 2, requires_grad=True)
    mine = torch.zeros(1, 2, requires_grad=True)
    scores = (torch.zeros(1, 1),)
    loss = feature_matching_loss(Judgement(scores, ((real,),)), Judgement(scores, ((mine,),)))
    torch.autograd.backward(loss)
    assert real.grad is None
    assert mine.grad is not None


def _tone(hertz: float) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(32 * HOP) / SAMPLE_RATE)


def test_the_loss_hears_above_the_models_mel() -> None:
    noise = torch.randn(32 * HOP, generator=torch.Generator().manual_seed(1))
    without = 0.3 * _tone(500.0) + 0.02 * noise
    beyond = without + 0.1 * _tone(9500.0)
    inner = slice(2, -2)  # the reflection at the ends breaks a tone, which is then heard everywhere
    assert (log_mel(without) - log_mel(beyond))[inner].abs().max() < 0.05
    assert (full_band_log_mel(without) - full_band_log_mel(beyond))[inner].abs().max() > 1.5
    assert mel_loss(beyond[None], without[None]).item() > 0.02


@settings(max_examples=20)
@given(st.floats(0.1, 10.0))
def test_gain_costs_its_logarithm(gain: float) -> None:
    wave = torch.randn(1, 8192, generator=torch.Generator().manual_seed(1))
    expected = abs(gain - 1) + abs(math.log(gain))
    assert multi_resolution_stft_loss(gain * wave, wave).item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_silence_has_finite_slopes() -> None:
    wave = torch.zeros(1, 8192, requires_grad=True)
    loss = multi_resolution_stft_loss(wave, torch.zeros(1, 8192)) + mel_loss(wave, torch.randn(1, 8192))
    torch.autograd.backward(loss)
    assert wave.grad is not None
    assert torch.isfinite(wave.grad).all()


def test_waves_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        multi_resolution_stft_loss(torch.zeros(1, 1000), torch.zeros(1, 1000))
