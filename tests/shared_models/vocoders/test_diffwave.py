"""DiffWave: its schedule in closed form, its sampling against a perfect predictor, and its training."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from shared_models.audio.mel import HOP, LOG_FLOOR, log_mel
from shared_models.errors import RecipeError
from shared_models.vocoders import diffwave
from shared_models.vocoders.diffusion_schedule import FAST, TRAINING, NoiseSchedule
from shared_models.vocoders.diffwave import DiffWave, DiffWaveDimensions, NoisyWaves, StepEmbedding

SMALL = DiffWaveDimensions(channels=8, layers=4, cycle=3)


def test_training_schedule_is_linear_between_its_ends() -> None:
    assert len(TRAINING.betas) == 50
    assert TRAINING.betas[0] == pytest.approx(1e-4)
    assert TRAINING.betas[-1] == pytest.approx(0.05)
    assert TRAINING.betas[7] == pytest.approx(1e-4 + 7 * (0.05 - 1e-4) / 49)


def test_shares_left_are_products_taken_by_logarithms() -> None:
    for step in (0, 1, 20, 49):
        expected = math.exp(sum(math.log1p(-beta) for beta in TRAINING.betas[: step + 1]))
        assert TRAINING.kept[step] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", [TRAINING, FAST])
def test_posterior_deviation_is_that_of_two_gaussian_observations(schedule: NoiseSchedule) -> None:
    """The wave before a step is known from the clean wave and from the wave after: precisions add up."""
    for step in range(1, len(schedule.betas)):
        beta, before = schedule.betas[step], schedule.kept[step - 1]
        precision = 1 / (1 - before) + (1 - beta) / beta
        assert schedule.posterior_deviation(step) == pytest.approx(precision**-0.5, rel=1e-9)
    assert schedule.posterior_deviation(0) == 0


def test_full_schedule_stands_for_itself() -> None:
    assert TRAINING.steps_within(TRAINING) == pytest.approx(range(50), abs=1e-9)


def test_fast_steps_lie_where_the_noise_is_equal() -> None:
    steps = FAST.steps_within(TRAINING)
    assert steps[0] == pytest.approx(0, abs=1e-9)
    assert all(a < b for a, b in pairwise(steps))
    for step, kept in zip(steps, FAST.kept, strict=True):
        below, share = int(step), step - int(step)
        above = min(below + 1, 49)
        amplitude = (1 - share) * TRAINING.kept[below] ** 0.5 + share * TRAINING.kept[above] ** 0.5
        assert amplitude == pytest.approx(kept**0.5, rel=1e-9)


@given(st.lists(st.floats(1e-4, 0.2), min_size=1, max_size=5))
def test_any_gentler_schedule_finds_its_steps(betas: list[float]) -> None:
    schedule = NoiseSchedule(tuple(betas))
    if schedule.kept[-1] < TRAINING.kept[-1]:
        with pytest.raises(RecipeError, match="noisier"):
            schedule.steps_within(TRAINING)
    else:
        steps = schedule.steps_within(TRAINING)
        assert all(0 <= step <= 49 for step in steps)


@pytest.mark.parametrize("betas", [(), (0.0,), (0.5, 1.0), (-0.1,)])
def test_impossible_variances_are_refused(betas: tuple[float, ...]) -> None:
    with pytest.raises(RecipeError, match="between 0 and 1"):
        NoiseSchedule(betas)


def test_step_embedding_has_the_closed_form_and_is_linear_in_between() -> None:
    embedding = StepEmbedding(50)
    for j in (0, 31, 63):
        angle = 3 * 10 ** (4 * j / 63)
        assert embedding.table[3, j].item() == pytest.approx(math.sin(angle), abs=2e-3)
        assert embedding.table[3, 64 + j].item() == pytest.approx(math.cos(angle), abs=2e-3)
    rows: list[torch.Tensor] = []
    embedding.expand.register_forward_hook(lambda _module, inputs, _output: rows.append(inputs[0]))
    embedding(torch.tensor([3.25, 3.0, 49.0]))
    assert torch.allclose(rows[0][0], 0.75 * embedding.table[3] + 0.25 * embedding.table[4], atol=1e-6)
    assert torch.equal(rows[0][1:], embedding.table[[3, 49]])


@pytest.mark.parametrize("schedule", [TRAINING, FAST])
def test_perfect_predictions_lead_back_to_the_clean_wave(
    schedule: NoiseSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = 0.5 * torch.sin(torch.arange(4 * HOP) / 20)[None]
    seen: list[float] = []

    def exact(_self: DiffWave, wave: torch.Tensor, step: torch.Tensor, _mel: torch.Tensor) -> torch.Tensor:
        seen.append(step[0].item())
        kept = schedule.kept[len(schedule.betas) - len(seen)]
        return (wave - kept**0.5 * clean) / (1 - kept) ** 0.5

    monkeypatch.setattr(DiffWave, "_predict", exact)
    wave = DiffWave(SMALL).sample(torch.zeros(1, 4, 80), schedule, seed=3)
    assert torch.allclose(wave, clean, atol=1e-4)
    assert seen == pytest.approx(list(reversed(schedule.steps_within(TRAINING))))


def test_same_seed_same_wave_and_the_global_generator_is_left_alone() -> None:
    model, mel = DiffWave(SMALL), torch.zeros(1, 5, 80)
    torch.manual_seed(1)
    first, after = model.sample(mel, seed=4), torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(2), after)
    assert torch.equal(model.sample(mel, seed=4), first)
    assert not torch.equal(model.sample(mel, seed=5), first)
    assert torch.equal(model(mel), model.sample(mel, FAST, seed=0))


@pytest.mark.parametrize("frames", [1, 4, 9])
def test_sampling_in_tiles_is_sampling_as_a_whole(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    model, mel = DiffWave(SMALL), torch.randn(2, frames, 80) - 5
    nn.init.normal_(model.output.weight)
    whole = model.sample(mel, seed=1)
    lengths: list[int] = []
    predict = DiffWave._predict

    def watched(self: DiffWave, wave: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        lengths.append(wave.shape[1])
        return predict(self, wave, *others)

    monkeypatch.setattr(DiffWave, "_predict", watched)
    monkeypatch.setattr(diffwave, "_TILE", 300)
    tiled = model.sample(mel, seed=1)
    assert tiled.shape == (2, frames * HOP)
    assert torch.allclose(tiled, whole, atol=1e-5)
    # Dilations 1, 2, 4 and 1: eight samples to either side, and no more.
    assert max(lengths) <= 300 + 2 * 8
    assert len(lengths) == 6 * math.ceil(frames * HOP / 300)


def test_untrained_network_predicts_no_noise_but_its_bias() -> None:
    model = DiffWave(SMALL)
    noise = model.predict_noise(torch.randn(2, 3 * HOP), torch.tensor([0.0, 49.0]), torch.zeros(2, 3, 80))
    assert torch.equal(noise, model.output.bias.expand_as(noise))


def test_mel_reaches_the_network_scaled_and_in_time() -> None:
    model = DiffWave(SMALL)
    taken: list[torch.Tensor] = []
    model.upsampling[0].register_forward_hook(lambda _module, inputs, _output: taken.append(inputs[0]))
    mel = torch.full((1, 6, 80), LOG_FLOOR)
    mel[0, 4] = 0.0
    quiet, loud = model._upsampled(torch.full_like(mel, LOG_FLOOR)), model._upsampled(mel)
    assert taken[1][0, 0, :, 4].eq(1).all()
    assert taken[1][0, 0, :, :4].abs().max() < 1e-6
    changed = (loud - quiet)[0].abs().amax(dim=0).nonzero()
    centre = (changed.min() + changed.max()) / 2
    assert abs(centre.item() - 4.5 * HOP) <= 1  # frame 4 is centred at (4 + 1/2) hops


def by_hand(state: dict[str, torch.Tensor], wave: torch.Tensor, step: int, mel: torch.Tensor) -> torch.Tensor:
    """The paper's network on plain tensors: one wave ``(N,)``, one integer step, ``mel (T, 80)``."""

    def pointwise(name: str, x: torch.Tensor) -> torch.Tensor:
        return state[f"{name}.weight"][..., 0] @ x + state[f"{name}.bias"][:, None]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    angle = step * 10 ** (torch.arange(64, dtype=torch.float64) * 4 / 63)
    embedded = torch.cat([angle.sin(), angle.cos()])
    for name in ("step_embedding.expand", "step_embedding.project"):
        embedded = linear(name, embedded)
        embedded = embedded * embedded.sigmoid()
    condition = (1 - mel / LOG_FLOOR).T[None, None]
    for i in (0, 1):
        weight, bias = state[f"upsampling.{i}.weight"], state[f"upsampling.{i}.bias"]
        grown = F.conv_transpose2d(condition, weight, bias, stride=(1, 16))[:, :, 1:-1, 8:-8]
        condition = torch.where(grown > 0, grown, 0.4 * grown)
    x, skips = pointwise("input", wave[None]).relu(), []
    for i in range(SMALL.layers):
        told = x + linear(f"blocks.{i}.step", embedded)[:, None]
        reach = 2 ** (i % SMALL.cycle)
        padded = F.pad(told, (reach, reach))
        weight = state[f"blocks.{i}.dilated.weight"]
        taps = [weight[..., k] @ padded[:, k * reach : k * reach + len(wave)] for k in range(3)]
        told = sum(taps) + state[f"blocks.{i}.dilated.bias"][:, None]
        told = told + pointwise(f"blocks.{i}.mel", condition[0, 0])
        half = SMALL.channels
        out = pointwise(f"blocks.{i}.output", told[:half].sigmoid() * told[half:].tanh())
        x = (x + out[:half]) / 2**0.5
        skips.append(out[half:])
    total = torch.stack(skips).sum(dim=0) / len(skips) ** 0.5
    return pointwise("output", pointwise("skip", total).relu())[0]


def test_network_is_the_papers() -> None:
    torch.manual_seed(0)
    model = DiffWave(SMALL).double()
    nn.init.normal_(model.output.weight)
    wave, mel = torch.randn(2, 3 * HOP).double(), torch.randn(2, 3, 80).double() - 5
    with torch.no_grad():
        predicted = model.predict_noise(wave, torch.tensor([0, 2]).double(), mel)
        for i, step in enumerate((0, 2)):
            expected = by_hand(dict(model.state_dict()), wave[i], step, mel[i])
            # The table was made in single precision, whose angles err by up to 1e-3 at 20,000 radians.
            assert (predicted[i] - expected).abs().max() < 5e-3 * expected.std()
            assert expected.std() > 0.1


def test_noisy_waves_have_the_variances_of_their_steps() -> None:
    clean = torch.ones(400, 500)
    noisy = NoisyWaves.of(clean, torch.Generator().manual_seed(1))
    assert set(noisy.step.int().tolist()) == set(range(50))
    for wave, step, noise in zip(noisy.wave, noisy.step, noisy.noise, strict=True):
        kept = TRAINING.kept[int(step)]
        assert torch.allclose(wave, kept**0.5 + (1 - kept) ** 0.5 * noise, atol=1e-5)
    assert noisy.noise.std().item() == pytest.approx(1, abs=0.01)
    parts = list(noisy.split(150))
    assert [len(part) for part in parts] == [150, 150, 100]
    for name in ("wave", "step", "noise"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(noisy, name))


@pytest.mark.slow
def test_loss_is_reproducible_and_falls_on_one_clip() -> None:
    torch.manual_seed(0)
    wave = 0.4 * torch.sin(2 * math.pi * 500 * torch.arange(8 * HOP) / 22050)[None].repeat(2, 1)
    mel, model = log_mel(wave), DiffWave(SMALL)

    def loss(seed: int) -> torch.Tensor:
        return model.training_loss(NoisyWaves.of(wave, torch.Generator().manual_seed(seed)), mel)

    assert torch.equal(loss(9), loss(9))
    before = sum(loss(seed).item() for seed in range(1000, 1010))
    assert before / 10 == pytest.approx(math.sqrt(2 / math.pi), rel=0.1)  # mean |noise|, plus the bias
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for seed in range(60):
        optimizer.zero_grad()
        loss(seed).backward()
        optimizer.step()
    with torch.no_grad():
        assert sum(loss(seed).item() for seed in range(1000, 1010)) < 0.7 * before
