"""A base of a few thousand weights, untrained but for how long it speaks."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from small_recipe import small_recipe

from shared_models.acoustic import build_model
from shared_models.base_model import BaseModel, write_base
from shared_models.partition import PartitionedModel, weights_hash


def small_base(folder: Path, seed: int = 1) -> Path:
    """Write the base to ``folder``: two frames a phoneme, so that a clip is long enough to be judged."""
    recipe = small_recipe(aligner={"learn": "auto"}).override({"seed": seed})
    acoustic = build_model(recipe)
    [bias] = [p for name, p in acoustic.named_parameters() if name.endswith("duration.output.bias")]
    with torch.no_grad():
        bias.fill_(math.log(1 + 2))
    model = PartitionedModel(acoustic)
    path = folder / f"base{seed}.safetensors"
    write_base(path, BaseModel(model, recipe, weights_hash(model.shared_vector())))
    return path
