"""The untrained generator that a recipe's section ``vocoder`` describes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from shared_models.config import VocoderConfig
from shared_models.seeds import derive_seed
from shared_models.vocoders.kinds import PUBLISHED, Dimensions, build_generator
from shared_models.vocoders.magnitude import MagnitudeDimensions
from shared_models.vocoders.vocos import VocosDimensions


def dimensions_of(config: VocoderConfig) -> Dimensions:
    """The kind's published sizes, with what the recipe changes; raises RecipeError where they do not fit."""
    published = PUBLISHED[config.kind]
    if isinstance(published, VocosDimensions):
        return VocosDimensions(
            config.width or published.width,
            config.hidden or published.hidden,
            config.blocks or published.blocks,
        )
    if isinstance(published, MagnitudeDimensions):
        return MagnitudeDimensions(
            config.width or published.width,
            config.hidden or published.hidden,
            config.blocks or published.blocks,
            config.iterations or published.iterations,
        )
    return replace(published, channels=config.width or published.channels)


def generator_of(config: VocoderConfig, seed: int) -> nn.Module:
    """The generator with random weights that depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "vocoder"))
        return build_generator(config.kind, dimensions_of(config))
