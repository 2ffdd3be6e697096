"""A second writing of the public HiFi-GAN generator, from the paper's description and its checkpoint's names.

It works on plain tensors by name, without modules, so that it shares nothing with the product but torch's
functions; weight norm is applied as the checkpoints store it, lengths ``weight_g`` and directions ``weight_v``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_COMMON = {
    "num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050,
    "fmin": 0, "fmax": 8000, "fmax_for_loss": None, "segment_size": 8192, "num_workers": 4,
}  # fmt: skip
_PAIRED = {
    "resblock": "1", "upsample_rates": [8, 8, 2, 2], "upsample_kernel_sizes": [16, 16, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "v1": _COMMON | _PAIRED | {"upsample_initial_channel": 64},
    "v2": _COMMON | _PAIRED | {"upsample_initial_channel": 16},
    "v3": _COMMON | {
        "resblock": "2", "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8],
        "upsample_initial_channel": 32, "resblock_kernel_sizes": [3, 5, 7],
        "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
    },
}  # fmt: skip
"""The authors' configurations with fewer channels."""


def random_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """A generator's tensors as the authors' code saves them."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}

    def layer(name: str, first: int, second: int, kernel: int, outputs: int) -> None:
        tensors[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
        tensors[f"{name}.weight_g"] = torch.rand(first, 1, 1, generator=generator) + 0.5
        tensors[f"{name}.weight_v"] = torch.randn(first, second, kernel, generator=generator)

    channels = config["upsample_initial_channel"]
    layer("conv_pre", channels, 80, 7, channels)
    block = 0
    for stage, kernel in enumerate(config["upsample_kernel_sizes"]):
        layer(f"ups.{stage}", channels, channels // 2, kernel, channels // 2)
        channels //= 2
        for size, dilations in zip(
            config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True
        ):
            for place in range(len(dilations)):
                for group in ("convs1", "convs2") if config["resblock"] == "1" else ("convs",):
                    layer(f"resblocks.{block}.{group}.{place}", channels, channels, size, channels)
            block += 1
    layer("conv_post", 1, channels, 7, 1)
    return tensors


def run(tensors: dict[str, Tensor], config: dict[str, Any], mel: Tensor) -> Tensor:
    """The wave ``(B, N)`` of ``mel (B, 80, T)``."""

    def weight(name: str) -> Tensor:
        length, direction = tensors[f"{name}.weight_g"], tensors[f"{name}.weight_v"]
        return torch.stack([g * v / v.pow(2).sum().sqrt() for g, v in zip(length, direction, strict=True)])

    def convolve(name: str, x: Tensor, dilation: int = 1) -> Tensor:
        kernel = weight(name)
        reach = dilation * (kernel.shape[-1] - 1) // 2
        return F.conv1d(F.pad(x, (reach, reach)), kernel, tensors[f"{name}.bias"], dilation=dilation)

    x, block = convolve("conv_pre", mel), 0
    for stage, rate in enumerate(config["upsample_rates"]):
        length = x.shape[-1] * rate
        grown = F.conv_transpose1d(
            F.leaky_relu(x, 0.1), weight(f"ups.{stage}"), tensors[f"ups.{stage}.bias"], rate
        )
        surplus = (grown.shape[-1] - length) // 2
        x, outcomes = grown[..., surplus : surplus + length], []
        for dilations in config["resblock_dilation_sizes"]:
            y = x
            for place, dilation in enumerate(dilations):
                if config["resblock"] == "1":
                    inner = convolve(f"resblocks.{block}.convs1.{place}", F.leaky_relu(y, 0.1), dilation)
                    y = y + convolve(f"resblocks.{block}.convs2.{place}", F.leaky_relu(inner, 0.1))
                else:
                    y = y + convolve(f"resblocks.{block}.convs.{place}", F.leaky_relu(y, 0.1), dilation)
            outcomes.append(y)
            block += 1
        x = torch.stack(outcomes).mean(dim=0)
    return torch.tanh(convolve("conv_post", F.leaky_relu(x, 0.01)))[:, 0]


def write(
    folder: Path, tensors: dict[str, Tensor], config: dict[str, Any], *, zipped: bool = True
) -> tuple[Path, Path]:
    """The checkpoint, in torch's format of today or in that of 2020, and its configuration."""
    checkpoint, described = folder / "generator_test", folder / "config.json"
    torch.save({"generator": tensors}, checkpoint, _use_new_zipfile_serialization=zipped)
    described.write_text(json.dumps(config), encoding="utf-8")
    return checkpoint, described
