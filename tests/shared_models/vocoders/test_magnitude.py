"""The magnitude network: its envelope in closed form, what its loss judges, and that it learns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.learning.vocoder_figures import told_figures
from client.learning.vocoder_training import VocoderTrainer
from shared_models.audio.mel import HOP, N_MELS, log_mel, magnitude, mel_basis, mel_of_magnitude
from shared_models.audio.wave_segments import WaveSegments
from shared_models.config import VocoderConfig
from shared_models.vocoders.griffin_lim import find_wave
from shared_models.vocoders.magnitude import FLOOR, MagnitudeDimensions, MagnitudeNetwork

SMALL = MagnitudeDimensions(width=16, hidden=24, blocks=2, iterations=4)


def network(dimensions: MagnitudeDimensions = SMALL) -> MagnitudeNetwork:
    torch.manual_seed(3)
    return MagnitudeNetwork(dimensions).eval()


def speech_like(frames: int = 40, batch: int = 2) -> torch.Tensor:
    """Harmonics with a moving pitch and some noise, ``(batch, frames * HOP)``."""
    time = torch.arange(frames * HOP) / 22050
    phase = 2 * torch.pi * torch.cumsum(120 + 30 * torch.sin(3 * time), 0) / 22050
    tone = sum(torch.sin(k * phase) / k for k in range(1, 20))
    noise = torch.randn(batch, frames * HOP, generator=torch.Generator().manual_seed(1))
    return 0.05 * tone + 0.005 * noise


def test_the_shipped_size_has_the_parameters_that_arithmetic_gives() -> None:
    width, hidden, blocks = 256, 768, 6
    block = width * 7 + width + 2 * width + 2 * width * hidden + hidden + width + width
    expected = (80 * 7 * width + width) + 2 * width + blocks * block + 2 * width + (width + 1) * 513
    assert sum(p.numel() for p in MagnitudeNetwork().parameters()) == expected


@settings(max_examples=20)
@given(st.floats(-4, 3), st.integers(1, 20))
def test_a_flat_spectrum_is_its_own_envelope(level: float, frames: int) -> None:
    net = network()
    with torch.no_grad():
        net.head.weight.zero_()
        spectrum = torch.full((1, frames, 513), float(torch.tensor(level).exp()))
        found = net.log_magnitude(mel_of_magnitude(spectrum))
    covered = mel_basis().sum(dim=1) > 0
    assert torch.allclose(found[..., covered], torch.tensor(level).float(), atol=1e-4)
    assert torch.allclose(found[..., ~covered], torch.tensor(FLOOR).log(), atol=1e-4)


@settings(max_examples=10)
@given(st.integers(1, 60), st.integers(1, 3))
def test_a_wave_has_its_mels_length_and_batching_changes_nothing(frames: int, batch: int) -> None:
    net = network()
    mel = torch.randn(batch, frames, N_MELS, generator=torch.Generator().manual_seed(frames)) - 5
    with torch.no_grad():
        together = net(mel)
        alone = torch.cat([net(one[None]) for one in mel])
    assert together.shape == (batch, frames * HOP)
    assert torch.allclose(together, alone, atol=1e-4)


def test_the_wave_is_griffin_lims_of_the_predicted_magnitude() -> None:
    net, mel = network(), log_mel(speech_like())
    with torch.no_grad():
        assert torch.equal(net(mel), find_wave(net.log_magnitude(mel).exp(), SMALL.iterations))


def test_distances_are_those_of_the_definition_in_double_precision() -> None:
    net, wave = network(), speech_like()
    mel = log_mel(wave)
    with torch.no_grad():
        log, convergence = net.distances(wave, mel, context=5)
        predicted = net.log_magnitude(mel)[:, 5:-5].double()
    true = magnitude(wave.double())[:, 5:-5]
    assert float(log) == pytest.approx(
        float((predicted - true.clamp(min=FLOOR).log()).abs().mean()), rel=1e-4
    )
    each = [
        float(((p.exp() - t) ** 2).sum().sqrt() / (t**2).sum().sqrt())
        for p, t in zip(predicted, true, strict=True)
    ]
    assert float(convergence) == pytest.approx(sum(each) / len(each), rel=1e-4)


def test_frames_that_see_the_segments_edge_are_not_judged() -> None:
    net, wave = network(), speech_like()
    mel = log_mel(wave)
    other = wave.clone()
    other[:, : 2 * HOP] = 0.3
    with torch.no_grad():
        same = [net.distances(w, mel, context=5) for w in (wave, other)]
        moved = net.distances(other, mel, context=0)
    assert torch.equal(same[0][0], same[1][0])
    assert not torch.equal(same[0][0], moved[0])


def test_silence_has_a_finite_loss() -> None:
    net, wave = network(), torch.zeros(1, 30 * HOP)
    log, convergence = net.distances(wave, log_mel(wave))
    torch.autograd.backward(log + convergence)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_training_brings_it_closer_and_repeats() -> None:
    config = VocoderConfig(kind="magnitude", steps=40, generator_lr=3e-3, decay="none", context_frames=2)
    wave = speech_like()
    segments = WaveSegments(log_mel(wave), wave)
    runs = []
    for _ in range(2):
        trainer = VocoderTrainer(network(), config, seed=1)
        runs.append(told_figures({number: trainer.step(segments, number) for number in range(1, 41)}))
    assert runs[0] == runs[1]
    first, last = runs[0][0], runs[0][-1]
    assert last["log_magnitude"] < 0.7 * first["log_magnitude"]
    assert last["convergence"] < first["convergence"]
    assert not len(trainer.discriminators)
