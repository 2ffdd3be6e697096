"""A trained vocoder as one safetensors file.

Its tensors are the folded weights; its header says the kind, the dimensions, the mel it was trained on,
and its maker's notes. Nothing in the file is executed when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from shared_models.errors import CheckpointError, RecipeError
from shared_models.files import write_atomically
from shared_models.tensor_file import read_tensors
from shared_models.vocoders.folding import folded_weights, load_fitting
from shared_models.vocoders.kinds import (
    KINDS,
    Dimensions,
    build_generator,
    dimensions_as_json,
    dimensions_from_json,
)
from shared_models.vocoders.mel_settings import OURS, mel_settings_of, refuse_mismatch
from shared_models.vocoders.neural import NeuralVocoder

FORMAT = "fedvoice-vocoder-1"
PACKAGED = Path(__file__).resolve().parent.parent / "pretrained" / "vocoder.safetensors"


def save_vocoder(
    path: Path,
    generator: nn.Module,
    kind: str,
    dimensions: Dimensions,
    notes: Mapping[str, str] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write ``generator``, which may still have its weight norm and stays as it is, to ``path``.

    ``half`` stores float16, at half the size. Raises :class:`CheckpointError` for weights that are not finite
    as stored, and :class:`shared_models.errors.StorageError` where the disk refuses.
    """
    weights = folded_weights(generator)
    if half:
        weights = {name: tensor.half() for name, tensor in weights.items()}
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"'{name}' of the vocoder for {path} holds values that {tensor.dtype} cannot store: its training "
                "has diverged, or it needs full precision"
            )
    header = {
        "format": FORMAT,
        "kind": kind,
        "dimensions": dimensions_as_json(dimensions),
        "mel": json.dumps(asdict(OURS)),
        "notes": json.dumps(dict(notes or {})),
    }
    write_atomically(path, save(weights, header))


def load_vocoder(path: Path) -> NeuralVocoder:
    """Read a vocoder, as float32.

    Raises :class:`CheckpointError` if there is none, or if it is damaged, of another mel, or not a vocoder.
    """
    header, weights = _read(path)
    where = f"the vocoder file {path}"
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a FedVoice vocoder file; import a public HiFi-GAN checkpoint before using it"
        )
    kind = header.get("kind", "")
    if kind not in KINDS:
        raise CheckpointError(
            f"{where} holds a vocoder '{kind}', which this version of FedVoice does not know"
        )
    refuse_mismatch(mel_settings_of(_json(header, "mel"), where), where)
    try:
        dimensions = dimensions_from_json(kind, header.get("dimensions", ""))
    except RecipeError as error:
        raise CheckpointError(f"{where} cannot be used, since {error}") from None
    notes = _json(header, "notes")
    generator = load_fitting(lambda: build_generator(kind, dimensions), weights, where)
    return NeuralVocoder(
        generator.requires_grad_(False),
        kind,
        dimensions,
        {str(key): str(value) for key, value in notes.items()} if isinstance(notes, dict) else {},
    )


def packaged_vocoder() -> NeuralVocoder:
    """The vocoder that is shipped with the package. Raises :class:`CheckpointError` if there is none."""
    if not PACKAGED.is_file():
        raise CheckpointError(
            f"this installation has no packaged vocoder at {PACKAGED}: choose 'griffin_lim' or a vocoder file"
        )
    return load_vocoder(PACKAGED)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"there is no vocoder file {path}; check the path")
    return read_tensors(path, "the vocoder file", "it is truncated or damaged, so get it again")


def _json(header: Mapping[str, str], key: str) -> object:
    try:
        value: object = json.loads(header.get(key, ""))
    except (ValueError, RecursionError):
        return None
    return value
