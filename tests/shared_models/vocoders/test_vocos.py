"""Vocos: its frames lie where the mel's do, and it learns."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from shared_models.audio.mel import HOP, N_FFT, PADDING, log_mel
from shared_models.partition import Owner, Partition
from shared_models.vocoders.inverse_stft import inverse_stft
from shared_models.vocoders.vocos import Vocos, VocosDimensions

SMALL = VocosDimensions(width=16, hidden=32, blocks=2)
WINDOW = torch.hann_window(N_FFT)


def stft(wave: torch.Tensor) -> torch.Tensor:
    """The complex spectrum ``(B, T, bins)`` whose magnitude the mel is made of, by torch's own STFT."""
    padded = F.pad(wave[:, None], (PADDING, PADDING), mode="reflect")[:, 0]
    return torch.stft(padded, N_FFT, HOP, N_FFT, WINDOW, center=False, return_complex=True).mT


@settings(max_examples=20)
@given(frames=st.integers(2, 90), seed=st.integers(0, 1000))
def test_inverse_gives_back_the_wave_whose_frames_the_mel_sees(frames: int, seed: int) -> None:
    wave = torch.randn(2, frames * HOP, generator=torch.Generator().manual_seed(seed))
    again = inverse_stft(stft(wave), WINDOW)
    assert again.shape == wave.shape
    assert torch.allclose(again, wave, atol=1e-5)


def test_inverse_agrees_with_an_overlap_add_written_as_a_sum() -> None:
    spectrum = torch.randn(1, 7, N_FFT // 2 + 1, dtype=torch.complex64)
    total, weight = torch.zeros(10 * HOP), torch.zeros(10 * HOP)
    for t, frame in enumerate(torch.fft.irfft(spectrum[0])):
        total[t * HOP : t * HOP + N_FFT] += frame * WINDOW
        weight[t * HOP : t * HOP + N_FFT] += WINDOW**2
    expected = (total / weight)[PADDING : PADDING + 7 * HOP]
    assert torch.allclose(inverse_stft(spectrum, WINDOW)[0], expected, atol=1e-6)


def test_exact_magnitude_and_phase_through_the_head_give_the_wave() -> None:
    """The head's own layer, fed what makes it predict a wave's true spectrum, has to give that wave."""
    wave = torch.randn(1, 5 * HOP) * 0.1
    true = stft(wave)
    model = Vocos(SMALL)
    model.head.register_forward_hook(lambda *_: torch.cat([true.abs().log(), true.angle()], dim=-1))
    assert torch.allclose(model(torch.zeros(1, 5, 80)), wave, atol=1e-5)


def test_magnitude_is_limited_and_the_gradient_stays_finite() -> None:
    model = Vocos(SMALL)
    with torch.no_grad():
        model.head.bias.fill_(200.0)
    magnitude, _ = model.spectrum(torch.zeros(1, 3, 80))
    assert magnitude.max() == 100.0
    model = Vocos(SMALL)
    model(torch.zeros(2, 6, 80)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@settings(max_examples=15)
@given(frames=st.integers(1, 60))
def test_output_is_a_hop_for_every_frame_alone_or_in_a_batch(frames: int) -> None:
    model = Vocos(SMALL).eval()
    mel = torch.randn(3, frames, 80)
    with torch.no_grad():
        waves = model(mel)
        assert waves.shape == (3, frames * HOP)
        assert torch.allclose(waves[1:2], model(mel[1:2]), atol=1e-5)


def test_parameters_are_as_many_as_the_layers_add_up_to() -> None:
    width, hidden, blocks = 512, 1536, 8
    block = (7 * width + width) + 2 * width + (width * hidden + hidden) + (hidden * width + width) + width
    ends = (80 * 7 * width + width) + 2 * width + 2 * width + (width * 1026 + 1026)
    assert sum(p.numel() for p in Vocos().parameters()) == blocks * block + ends == 13_459_970


def test_start_is_as_published() -> None:
    model = Vocos(VocosDimensions(width=64, hidden=128, blocks=4))
    assert all((block.layer_scale == 0.25).all() for block in model.blocks)
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (model.head.bias == 0).all()


def test_everything_is_shared_but_the_window() -> None:
    partition = Partition.of(Vocos(SMALL))
    assert partition.names(Owner.CONSTANT) == ["window"]
    assert not partition.names(Owner.PERSONAL)


@pytest.mark.slow
def test_a_tone_can_be_learned() -> None:
    torch.manual_seed(0)
    time = torch.arange(40 * HOP) / 22050
    wave = 0.3 * torch.sin(2 * math.pi * 440 * time)[None]
    mel, model = log_mel(wave), Vocos(SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        loss = F.l1_loss(log_mel(model(mel)), mel)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.65 * losses[0]
