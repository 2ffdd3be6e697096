"""Discriminators: published sizes, and that each judges what it should."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from shared_models.config import VocoderConfig
from shared_models.errors import PartitionError, RecipeError
from shared_models.partition import Owner, Partition
from shared_models.vocoders.adversarial_model import Discriminators
from shared_models.vocoders.discriminators import DISCRIMINATORS, build_discriminator
from shared_models.vocoders.discriminators.period import PeriodDiscriminator
from shared_models.vocoders.discriminators.spectrogram import SpectrogramDiscriminator

SMALL = 1 / 16


def _millions(kind: str) -> float:
    return sum(p.numel() for p in build_discriminator(kind).parameters()) / 1e6


@pytest.mark.parametrize(
    ("kind", "millions"), [("period", 41.1), ("scale", 29.6), ("melgan", 16.9), ("bands", 1.4)]
)
def test_full_width_has_the_published_size(kind: str, millions: float) -> None:
    assert round(_millions(kind), 1) == millions


@pytest.mark.parametrize("kind", DISCRIMINATORS)
@pytest.mark.parametrize("width", [1 / 64, SMALL, 0.3])
def test_every_width_judges_a_batch(kind: str, width: float) -> None:
    found = build_discriminator(kind, width)(torch.randn(2, 4099))
    assert len(found.scores) == len(found.features)
    assert all(score.shape[0] == 2 and score.ndim == 2 for score in found.scores)
    assert all(len(layers) >= 5 for layers in found.features)


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_a_wave_is_judged_alone(kind: str) -> None:
    judge = build_discriminator(kind, SMALL).eval()
    waves = torch.randn(3, 4096)
    together, alone = judge(waves), judge(waves[1:2])
    for of_all, of_one in zip(together.scores, alone.scores, strict=True):
        torch.testing.assert_close(of_all[1:2], of_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("period", [2, 3, 11])
def test_period_equals_the_published_two_dimensional_form(period: int) -> None:
    judge = PeriodDiscriminator(period, SMALL)
    wave = torch.randn(2, 1001)
    x = F.pad(wave[:, None], (0, -1001 % period), mode="reflect").view(2, 1, -1, period)
    for layer, stride in zip(judge.layers, (3, 3, 3, 3, 1), strict=True):
        x = F.conv2d(x, layer.weight[..., None], layer.bias, (stride, 1), (2, 0))
        x = F.leaky_relu(x, 0.1)
    x = F.conv2d(x, judge.last.weight[..., None], judge.last.bias, padding=(1, 0))
    scores, features = judge(wave)
    # The published form flattens row by row, this one column by column.
    torch.testing.assert_close(scores, x[:, 0].transpose(1, 2).flatten(1), rtol=1e-4, atol=1e-5)
    assert features[0].shape[0] == 2 * period


def test_spectrogram_does_not_hear_level() -> None:
    judge = SpectrogramDiscriminator(512, SMALL)
    wave = torch.randn(2, 4096) * 0.1
    torch.testing.assert_close(judge(wave)[0], judge(3 * wave + 0.2)[0], rtol=1e-3, atol=1e-4)


def test_bands_cover_every_bin_once() -> None:
    edges = SpectrogramDiscriminator(1024, SMALL).edges
    assert [low for low, _ in edges] == [0, *(high for _, high in edges[:-1])]
    assert edges[-1][1] == 513


def family(kind: str) -> Discriminators:
    """One family, as a device keeps it."""
    chosen = {"discriminators": (kind,), "discriminator_widths": (SMALL,)}
    return Discriminators(VocoderConfig.model_validate(chosen), seed=1)


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_families_stay_on_the_device(kind: str) -> None:
    judges = family(kind)
    partition = Partition.of(judges)
    assert partition.size == 0
    assert set(partition.names(Owner.PERSONAL)) >= {name for name, _ in judges.named_parameters()}


def test_spectral_norm_cannot_be_shared() -> None:
    with pytest.raises(PartitionError, match="buffer"):
        Partition.of(family("scale"), share_everything=True)


def test_unknown_family_is_refused() -> None:
    with pytest.raises(RecipeError, match="choose from period"):
        build_discriminator("ear")
