"""The import of public HiFi-GAN generators: the authors' checkpoint format and their configuration.

A checkpoint is a torch file of ``{"generator": tensors}`` beside a JSON configuration. It is read without
executing anything in it. Its mel has to be ours; natural log and Slaney filters are the format's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared_models.errors import CheckpointError, RecipeError
from shared_models.vocoders.folding import load_fitting, weight_of
from shared_models.vocoders.hifigan import V2, HiFiGan, HiFiGanDimensions
from shared_models.vocoders.kinds import LARGEST_SIZE
from shared_models.vocoders.mel_settings import mel_settings_of, refuse_mismatch
from shared_models.vocoders.neural import NeuralVocoder

_NORMED = (
    (".weight_g", ".weight_v"),  # as the authors' code saves it
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),  # as today's torch does
)
"""Names under which weight norm leaves the length and the direction of a weight."""
_PLACES = ("generator", "model_g", "state_dict", "model")
_PREFIXES = ("module.", "generator.", "_orig_mod.", "model.")


def import_hifigan(checkpoint: Path, config: Path) -> NeuralVocoder:
    """The vocoder of a public generator, V1, V2, V3 or sized otherwise.

    Raises :class:`CheckpointError` if a file is missing, damaged or something else, if its tensors do not fit
    its configuration, or if its mel is not ours.
    """
    settings = _read_config(config)
    refuse_mismatch(mel_settings_of(settings, f"the configuration {config}"), f"the vocoder of {config}")
    dimensions = _dimensions(settings, config)
    weights = _folded(_read_generator(checkpoint), checkpoint)
    generator = load_fitting(lambda: HiFiGan(dimensions), weights, f"the checkpoint {checkpoint}")
    notes = {"source": f"public HiFi-GAN checkpoint {checkpoint.name}"}
    return NeuralVocoder(generator.requires_grad_(False), _kind(dimensions), dimensions, notes)


def _kind(dimensions: HiFiGanDimensions) -> str:
    """The version it is, or the version whose architecture it has at sizes of its own."""
    if dimensions == V2:
        return "hifigan_v2"
    return "hifigan_v1" if dimensions.paired else "hifigan_v3"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"the HiFi-GAN configuration {path} cannot be read ({error}): give the config.json that came with "
            "the checkpoint"
        ) from None
    if not isinstance(settings, dict):
        raise CheckpointError(
            f"the HiFi-GAN configuration {path} is no JSON object: give the checkpoint's config.json"
        )
    return settings


def _dimensions(settings: dict[str, Any], path: Path) -> HiFiGanDimensions:
    def read(name: str, convert: Callable[[Any], Any]) -> Any:
        try:
            return convert(settings[name])
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(
                f"the HiFi-GAN configuration {path} holds {settings.get(name)!r} as '{name}': give the "
                "config.json that came with the checkpoint"
            ) from None

    try:
        return HiFiGanDimensions(
            channels=read("upsample_initial_channel", _count),
            rates=read("upsample_rates", _counts),
            kernels=read("upsample_kernel_sizes", _counts),
            block_kernels=read("resblock_kernel_sizes", _counts),
            block_dilations=read("resblock_dilation_sizes", lambda rows: tuple(_counts(row) for row in rows)),
            paired=read("resblock", _is_paired),
        )
    except RecipeError as error:
        raise CheckpointError(f"the HiFi-GAN configuration {path} cannot be used, since {error}") from None


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIZE:
        raise ValueError(f"{value!r} is no count")
    return value


def _counts(values: Any) -> tuple[int, ...]:
    return tuple(_count(value) for value in values)


def _is_paired(value: Any) -> bool:
    return {"1": True, "2": False}[str(value)]


def _read_generator(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no HiFi-GAN checkpoint {path}; check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # Broken bytes lead torch's reader into whatever error they happen to; none of them is a bug of ours.
    except Exception as error:
        raise CheckpointError(
            f"the HiFi-GAN checkpoint {path} cannot be read ({type(error).__name__}): it is truncated, damaged or "
            "not a torch file of tensors alone, so get it again"
        ) from None
    tensors = _state_of(content)
    if tensors is None:
        held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path} holds no 'generator' with tensors by name (it holds: {held[:200]}); HiFi-GAN's generator "
            "files are those named 'g_...' or 'generator...'"
        )
    return _without_prefixes(tensors)


def _state_of(content: Any) -> dict[str, Tensor] | None:
    """The generator's tensors: under a name as the authors and others save them, or the whole content."""
    if not isinstance(content, dict):
        return None
    for name in _PLACES:
        if _is_state(content.get(name)):
            return dict(content[name])
    return dict(content) if content and _is_state(content) else None


def _is_state(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    )


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the generator's own names: without what wrappers (DataParallel, compile, Lightning) put before them."""
    own = {n: t for n, t in tensors.items() if n.startswith("generator.")}
    tensors = own or tensors
    while prefix := next((p for p in _PREFIXES if tensors and all(n.startswith(p) for n in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _folded(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors with each length and direction replaced by their weight."""
    folded = dict(tensors)
    for length_name, direction_name in _NORMED:
        for name in tensors:
            if not name.endswith(length_name):
                continue
            layer = name.removesuffix(length_name)
            length = folded.pop(name)
            direction = folded.pop(layer + direction_name, None)
            if direction is None or length.shape != (len(direction), *[1] * (direction.ndim - 1)):
                raise CheckpointError(
                    f"the checkpoint {path} lacks the direction of '{layer}.weight' that fits its length: it is "
                    "damaged or of another model"
                )
            folded[f"{layer}.weight"] = weight_of(direction.float(), length.float())
    return folded
