"""The trained vocoders by name."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Any

from torch import nn

from shared_models.errors import RecipeError
from shared_models.vocoders.diffwave import DiffWave, DiffWaveDimensions
from shared_models.vocoders.hifigan import V1, V2, V3, HiFiGan, HiFiGanDimensions
from shared_models.vocoders.magnitude import MagnitudeDimensions, MagnitudeNetwork
from shared_models.vocoders.melgan import MelGan, MelGanDimensions
from shared_models.vocoders.vocos import Vocos, VocosDimensions

Dimensions = HiFiGanDimensions | MelGanDimensions | DiffWaveDimensions | VocosDimensions | MagnitudeDimensions

KINDS: MappingProxyType[str, tuple[type[Any], type[nn.Module]]] = MappingProxyType(
    {
        "hifigan_v1": (HiFiGanDimensions, HiFiGan),
        "hifigan_v2": (HiFiGanDimensions, HiFiGan),
        "hifigan_v3": (HiFiGanDimensions, HiFiGan),
        "melgan": (MelGanDimensions, MelGan),
        "diffwave": (DiffWaveDimensions, DiffWave),
        "vocos": (VocosDimensions, Vocos),
        "magnitude": (MagnitudeDimensions, MagnitudeNetwork),
    }
)
"""The class of a kind's sizes and the class of its generator."""

PUBLISHED: MappingProxyType[str, Dimensions] = MappingProxyType(
    {
        "hifigan_v1": V1,
        "hifigan_v2": V2,
        "hifigan_v3": V3,
        "melgan": MelGanDimensions(),
        "diffwave": DiffWaveDimensions(),
        "vocos": VocosDimensions(),
        "magnitude": MagnitudeDimensions(),
    }
)
"""The sizes that each kind was published with; ``magnitude`` is this repository's own."""


LARGEST_SIZE = 65_536
"""Of any number among a generator's sizes, and for some of them less: what a file asks for must fit into a memory."""
_LARGEST: MappingProxyType[str, int] = MappingProxyType(
    {"blocks": 64, "layers": 256, "cycle": 16, "iterations": 1024, "block_dilations": 1024, "kernels": 1024,
     "block_kernels": 1024}
)  # fmt: skip
_MOST_ITEMS = 16
"""In one list of sizes."""


def build_generator(kind: str, dimensions: Dimensions | None = None) -> nn.Module:
    """An untrained generator, of the published sizes unless told otherwise.

    Raises :class:`RecipeError` for an unknown kind, or for the dimensions of another one.
    """
    if kind not in KINDS:
        raise RecipeError(f"there is no vocoder kind '{kind}'; choose one of {', '.join(KINDS)}")
    sizes, module = KINDS[kind]
    chosen = dimensions or PUBLISHED[kind]
    if not isinstance(chosen, sizes):
        raise RecipeError(f"'{kind}' takes {sizes.__name__} and was given {type(chosen).__name__}")
    return module(chosen)


def dimensions_as_json(dimensions: Dimensions) -> str:
    """The sizes as a JSON object, for a file's header."""
    return json.dumps(asdict(dimensions))


def dimensions_from_json(kind: str, text: str) -> Dimensions:
    """The inverse of :func:`dimensions_as_json`. Raises :class:`RecipeError` for anything else."""
    sizes: type[Dimensions] = KINDS[kind][0]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    expected = {field.name: getattr(PUBLISHED[kind], field.name) for field in fields(sizes)}
    if not isinstance(values, dict) or set(values) != set(expected):
        raise RecipeError(f"the dimensions of '{kind}' must be an object of {', '.join(expected)}")
    frozen = {name: _as_tuples(value) for name, value in values.items()}
    for name, value in frozen.items():
        if not _is_within(value, _LARGEST.get(name, LARGEST_SIZE)):
            raise RecipeError(f"'{name}' of '{kind}' is larger than any generator that could be used")
        if not _alike(value, expected[name]):
            raise RecipeError(f"'{name}' of '{kind}' is {value!r}, and should be like {expected[name]!r}")
    return sizes(**frozen)


def _is_within(value: Any, largest: int) -> bool:
    if isinstance(value, tuple):
        return len(value) <= _MOST_ITEMS and all(_is_within(item, largest) for item in value)
    return not isinstance(value, int | float) or value <= largest


def _as_tuples(value: Any) -> Any:
    """JSON has lists where the dimensions have tuples, which compare and hash by value."""
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


def _alike(value: Any, example: Any) -> bool:
    """Whether both are of one type, numbers positive, and tuples hold the same sort of things."""
    if type(value) is not type(example):
        return False
    if isinstance(example, tuple):
        return bool(value) and all(_alike(item, example[0]) for item in value)
    return isinstance(value, bool) or value > 0
