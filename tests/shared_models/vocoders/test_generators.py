"""Every generator: its published size, a hop of sound for every frame, and no neighbour's influence."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from shared_models.audio.mel import HOP
from shared_models.errors import RecipeError
from shared_models.partition import Owner, Partition
from shared_models.vocoders.diffwave import DiffWaveDimensions
from shared_models.vocoders.folding import fold_weight_norm, folded_weights
from shared_models.vocoders.hifigan import V3, HiFiGanDimensions
from shared_models.vocoders.kinds import (
    KINDS,
    PUBLISHED,
    build_generator,
    dimensions_as_json,
    dimensions_from_json,
)
from shared_models.vocoders.melgan import MelGanDimensions
from shared_models.vocoders.neural import NeuralVocoder
from shared_models.vocoders.vocos import VocosDimensions

SMALL = {
    "hifigan_v1": HiFiGanDimensions(
        32, (8, 8, 2, 2), (16, 16, 4, 4), (3, 7, 11), ((1, 3, 5),) * 3, paired=True
    ),
    "hifigan_v3": HiFiGanDimensions(
        32, (8, 8, 4), (16, 16, 8), (3, 5, 7), ((1, 2), (2, 6), (3, 12)), paired=False
    ),
    "melgan": MelGanDimensions(channels=32),
    "diffwave": DiffWaveDimensions(channels=8, layers=4, cycle=3),
    "vocos": VocosDimensions(width=16, hidden=32, blocks=2),
}


def small(kind: str) -> nn.Module:
    """A generator whose output depends on its input: DiffWave's starts at none."""
    torch.manual_seed(0)
    generator = build_generator(kind, SMALL[kind])
    if kind == "diffwave":
        nn.init.normal_(generator.output.weight, std=0.3)
    return generator.eval()


def convolution(inputs: int, outputs: int, kernel: int, *, transposed: bool = False) -> tuple[int, int]:
    """Parameters of a convolution, folded and with the lengths that weight norm adds (torch's axis 0)."""
    folded = inputs * outputs * kernel + outputs
    return folded, folded + (inputs if transposed else outputs)


def hifigan_count(channels: int, kernels: list[int], blocks: list[tuple[int, int]]) -> tuple[int, int]:
    """``blocks`` holds (kernel, number of convolutions) of each stack."""
    widths = [channels >> i for i in range(len(kernels) + 1)]
    parts = [convolution(80, channels, 7), convolution(widths[-1], 1, 7)]
    for (before, after), kernel in zip(pairwise(widths), kernels, strict=True):
        parts.append(convolution(before, after, kernel, transposed=True))
        parts += [convolution(after, after, size) for size, count in blocks for _ in range(count)]
    return sum(p[0] for p in parts), sum(p[1] for p in parts)


def melgan_count() -> tuple[int, int]:
    parts = [convolution(80, 512, 7), convolution(32, 1, 7)]
    for before, after, rate in ((512, 256, 8), (256, 128, 8), (128, 64, 2), (64, 32, 2)):
        parts.append(convolution(before, after, 2 * rate, transposed=True))
        parts += 3 * [convolution(after, after, size) for size in (3, 1, 1)]
    return sum(p[0] for p in parts), sum(p[1] for p in parts)


def diffwave_count() -> int:
    block = (64 * 128 * 3 + 128) + (512 * 64 + 64) + (80 * 128 + 128) + (64 * 128 + 128)
    embedding = (128 * 512 + 512) + (512 * 512 + 512)
    ends = (64 + 64) + (64 * 64 + 64) + (64 + 1)
    return 30 * block + embedding + 2 * (3 * 32 + 1) + ends


PAIRED = [(3, 6), (7, 6), (11, 6)]
SINGLE = [(3, 2), (5, 2), (7, 2)]


@pytest.mark.parametrize(
    ("kind", "reckoned", "folded", "normed"),
    [
        ("hifigan_v1", hifigan_count(512, [16, 16, 4, 4], PAIRED), 13_926_017, 13_936_130),
        ("hifigan_v2", hifigan_count(128, [16, 16, 4, 4], PAIRED), 925_985, 928_514),
        ("hifigan_v3", hifigan_count(256, [16, 16, 8], SINGLE), 1_462_273, 1_464_322),
        ("melgan", melgan_count(), 4_260_257, 4_266_050),
        ("diffwave", (diffwave_count(),) * 2, 2_619_971, 2_619_971),
    ],
)
def test_published_sizes(kind: str, reckoned: tuple[int, int], folded: int, normed: int) -> None:
    assert reckoned == (folded, normed)
    generator = build_generator(kind)
    assert sum(p.numel() for p in generator.parameters()) == normed
    fold_weight_norm(generator)
    assert sum(p.numel() for p in generator.parameters()) == folded


@pytest.mark.parametrize("kind", SMALL)
@settings(max_examples=12)
@given(frames=st.integers(1, 40))
def test_a_hop_for_every_frame_alone_or_in_a_batch(kind: str, frames: int) -> None:
    generator = small(kind)
    mel = torch.randn(3, frames, 80, generator=torch.Generator().manual_seed(frames)) - 5
    with torch.no_grad():
        waves = generator(mel)
        assert waves.shape == (3, frames * HOP)
        assert torch.isfinite(waves).all()
        assert torch.allclose(generator(mel[1:2]), waves[1:2], atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_folding_changes_neither_the_wave_nor_the_tensors_it_was_read_from(kind: str) -> None:
    generator, mel = small(kind), torch.randn(1, 12, 80) - 5
    with torch.no_grad():
        for parameter in generator.parameters():  # lengths that no longer match their directions
            parameter.mul_(torch.rand_like(parameter) + 0.5)
        before = generator(mel)
        read = folded_weights(generator)
        assert torch.equal(generator(mel), before)
        fold_weight_norm(generator)
        assert torch.allclose(generator(mel), before, atol=1e-5)
    state = generator.state_dict()
    assert set(read) == set(state)
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert not any("parametrizations" in name for name in state)


def test_melgan_is_the_papers() -> None:
    generator, mel = small("melgan"), torch.randn(2, 9, 80)
    with torch.no_grad():
        for parameter in generator.parameters():  # louder, so that no layer's part is lost in rounding
            parameter.mul_(1.3)
    state = folded_weights(generator)

    def convolve(name: str, x: torch.Tensor, dilation: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        reach = dilation * (weight.shape[-1] - 1) // 2
        padded = F.pad(x, (reach, reach), mode="reflect")
        return F.conv1d(padded, weight, state[f"{name}.bias"], dilation=dilation)

    def leaky(x: torch.Tensor) -> torch.Tensor:
        return torch.maximum(x, 0.2 * x)

    x = convolve("first", mel.mT)
    for stage, rate in enumerate((8, 8, 2, 2)):
        weight, bias = state[f"ups.{stage}.weight"], state[f"ups.{stage}.bias"]
        grown = F.conv_transpose1d(leaky(x), weight, bias, rate)
        x = grown[..., rate // 2 : rate // 2 + x.shape[-1] * rate]
        for block in range(3):
            name = f"stages.{stage}.{block}"
            inner = leaky(convolve(f"{name}.dilated", leaky(x), 3**block))
            x = convolve(f"{name}.shortcut", x) + convolve(f"{name}.pointwise", inner)
    expected = convolve("last", leaky(x)).tanh()[:, 0]
    with torch.no_grad():
        assert torch.allclose(generator(mel), expected, atol=1e-5)
    assert 0.01 < expected.std() < 0.5


@pytest.mark.parametrize("kind", SMALL)
def test_everything_is_shared_or_constant(kind: str) -> None:
    assert not Partition.of(build_generator(kind, SMALL[kind])).names(Owner.PERSONAL)


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind != "diffwave"])
def test_sound_stays_within_reach_of_its_frame(kind: str) -> None:
    """A change of one frame changes the wave there, and nowhere far from it."""
    generator, mel = small(kind), torch.randn(1, 120, 80) - 5
    other = mel.clone()
    other[0, 60] += 1
    with torch.no_grad():
        changed = (generator(mel) - generator(other))[0].abs().reshape(120, HOP).amax(dim=1)
    assert changed[60] > 0
    assert changed[:30].max() < 1e-6
    assert changed[90:].max() < 1e-6


def test_neural_vocoder_takes_any_leading_dimensions_and_gives_no_gradient() -> None:
    vocoder = NeuralVocoder(small("vocos").train(), "vocos", SMALL["vocos"])
    mel = torch.randn(2, 3, 7, 80, requires_grad=True)
    wave = vocoder(mel)
    assert wave.shape == (2, 3, 7 * HOP)
    assert not wave.requires_grad
    assert not vocoder.generator.training
    assert torch.allclose(vocoder(mel[1, 2]), wave[1, 2], atol=1e-5)
    assert vocoder(mel.double()).dtype == torch.float64
    assert vocoder(torch.zeros(2, 0, 80)).shape == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_dimensions_survive_json(kind: str) -> None:
    sizes = PUBLISHED[kind]
    assert dimensions_from_json(kind, dimensions_as_json(sizes)) == sizes


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"width": 512, "hidden": 3, "blocks": "8"}', '{"width": 0, "hidden": 3, "blocks": 8}',
     '{"width": true, "hidden": 3, "blocks": 8}', '{"width": 1, "hidden": 3, "blocks": 8, "more": 1}'],
)  # fmt: skip
def test_other_dimensions_are_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        dimensions_from_json("vocos", text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rates": (8, 8, 2)}, "multiply to 256"),
        ({"kernels": (16, 16)}, "number of kernels"),
        ({"kernels": (16, 16, 7)}, "even number"),
        ({"channels": 100}, "multiple of 8"),
        ({"block_dilations": ((1, 2),)}, "dilations"),
        ({"block_kernels": (3, 4, 7)}, "even kernel"),
    ],
)
def test_hifigan_sizes_that_make_no_hop_are_refused(changes: dict[str, object], said: str) -> None:
    whole = {name: getattr(V3, name) for name in V3.__slots__}
    with pytest.raises(RecipeError, match=said):
        HiFiGanDimensions(**{**whole, **changes})


def test_kind_and_dimensions_must_agree() -> None:
    with pytest.raises(RecipeError, match="wavenet"):
        build_generator("wavenet")
    with pytest.raises(RecipeError, match="VocosDimensions"):
        build_generator("vocos", MelGanDimensions())
    with pytest.raises(RecipeError, match="256"):
        MelGanDimensions(rates=(8, 8, 2))
    with pytest.raises(RecipeError, match="16"):
        MelGanDimensions(channels=40)
