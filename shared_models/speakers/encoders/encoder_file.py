"""Files of speaker encoders: ours, Resemblyzer's ``pretrained.pt`` and SpeechBrain's ``embedding_model.ckpt`` of ECAPA.

Nothing in them is run: safetensors hold numbers alone, and torch's own files are read with ``weights_only``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from shared_models.errors import CheckpointError
from shared_models.files import write_atomically
from shared_models.speakers.encoders import ENCODERS
from shared_models.speakers.encoders.d_vector import DVector
from shared_models.speakers.encoders.ecapa import Ecapa, EcapaSizes
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.tensor_file import read_tensors, read_torch_file

FORMAT = "fedvoice-encoder-1"
_SPEECHBRAIN = "embedding_model.ckpt"
_REMEDY = (
    "name a file of `fedvoice speaker-encoder train`, Resemblyzer's pretrained.pt or SpeechBrain's ECAPA"
)


def save_encoder(path: Path, kind: str, encoder: Any, notes: Mapping[str, str] | None = None) -> None:
    """Write an encoder with its kind and sizes; ``notes`` say where it comes from. Raises StorageError."""
    header = {"format": FORMAT, "kind": kind, "sizes": json.dumps(asdict(encoder.sizes)), **(notes or {})}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    write_atomically(path, save(tensors, header))


def load_encoder(path: Path, kind: str) -> Any:
    """The encoder in a file, or in a SpeechBrain folder, in evaluation mode.

    Raises :class:`CheckpointError` if it cannot be read, or holds no encoder of that kind.
    """
    file = path / _SPEECHBRAIN if path.is_dir() else path
    encoder = _ours(file, kind) if file.suffix == ".safetensors" else _public(file, kind)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in encoder.state_dict().values()):
        raise CheckpointError(f"the encoder in {file} holds NaN or infinite numbers: {_REMEDY}")
    return encoder.eval()


def kind_in(path: Path) -> str | None:
    """The kind that one of our files says it holds; None for public ones, which do not say.

    Raises :class:`CheckpointError` if it cannot be read.
    """
    if path.suffix != ".safetensors":
        return None
    header, _ = read_tensors(path, "the speaker encoder", _REMEDY)
    return header.get("kind")


def _ours(file: Path, kind: str) -> nn.Module:
    header, tensors = read_tensors(file, "the speaker encoder", _REMEDY)
    if header.get("format") != FORMAT or header.get("kind") not in ENCODERS:
        raise CheckpointError(f"{file} is not a speaker encoder of this version ({FORMAT}): {_REMEDY}")
    if header["kind"] != kind:
        raise CheckpointError(f"{file} holds an encoder of kind '{header['kind']}' and '{kind}' is asked for")
    try:
        return _filled(build_encoder(kind, **json.loads(header["sizes"])), tensors, file)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{file} describes an encoder that this version cannot build: {error}"
        ) from None


def _public(file: Path, kind: str) -> nn.Module:
    state = read_torch_file(file, "the speaker encoder", _REMEDY)
    if kind == "d_vector" and isinstance(state, dict) and isinstance(state.get("model_state"), dict):
        own = ("lstm.", "linear.")
        return _filled(DVector(), {n: t for n, t in state["model_state"].items() if n.startswith(own)}, file)
    if kind == "ecapa" and isinstance(state, dict) and "blocks.0.conv.conv.weight" in state:
        return _filled(Ecapa(_ecapa_sizes(state, file)), state, file)
    raise CheckpointError(f"{file} holds no public encoder of kind '{kind}': {_REMEDY}")


def _ecapa_sizes(state: Mapping[str, Tensor], file: Path) -> EcapaSizes:
    """SpeechBrain keeps the sizes elsewhere; they follow from the shapes."""
    try:
        groups = sum(
            name.startswith("blocks.1.res2net_block.blocks.") and name.endswith("conv.weight")
            for name in state
        )
        return EcapaSizes(
            bins=state["blocks.0.conv.conv.weight"].shape[1],
            channels=state["blocks.0.conv.conv.weight"].shape[0],
            aggregated=state["mfa.conv.conv.weight"].shape[0],
            attention=state["asp.tdnn.conv.conv.weight"].shape[0],
            squeezed=state["blocks.1.se_block.conv1.conv.weight"].shape[0],
            scale=groups + 1,
            width=state["fc.conv.weight"].shape[0],
        )
    except (KeyError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{file} is not SpeechBrain's ECAPA-TDNN (it lacks {error}): {_REMEDY}"
        ) from None


def _filled(encoder: Any, tensors: Mapping[str, Tensor], file: Path) -> nn.Module:
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{file} does not fit the encoder that it describes ({said}): {_REMEDY}"
        ) from None
    filled: nn.Module = encoder
    return filled
