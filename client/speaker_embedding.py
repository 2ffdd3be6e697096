"""A speaker embedding as a file: what an encoder says of one person, and what may be told of how it was made.

The header holds the encoder's kind and hash, and the guarantee. It holds nothing that depends on the recordings: no
names, no number of utterances, no time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from shared_models.errors import CheckpointError
from shared_models.files import write_atomically
from shared_models.tensor_file import read_tensors

FORMAT = "fedvoice-embedding-1"
GUARANTEE = ("unit", "epsilon", "delta", "mechanism")
_REMEDY = "make it again with fedvoice embed"


@dataclass(frozen=True, slots=True)
class SpeakerEmbedding:
    """One person's embedding."""

    vector: Tensor
    """``(E,)`` float32."""
    encoder: str
    """The encoder's kind."""
    encoder_hash: str
    """SHA-256 of its weights, or of the base's that it is a part of: embeddings of others cannot be compared."""
    privacy: dict[str, Any] | None = None
    """What is guaranteed of the recordings; None if nothing is, and then it stays on the device."""


def save_embedding(path: Path, embedding: SpeakerEmbedding) -> None:
    """Write an embedding. Raises StorageError."""
    header = {
        "format": FORMAT,
        "encoder": embedding.encoder,
        "encoder_hash": embedding.encoder_hash,
        "privacy": json.dumps(guarantee_of(embedding.privacy)),
    }
    write_atomically(path, save({"embedding": embedding.vector.detach().cpu().contiguous()}, header))


def load_embedding(path: Path) -> SpeakerEmbedding:
    """Read an embedding. Raises :class:`CheckpointError` if it is missing, damaged or something else."""
    header, tensors = read_tensors(path, "the speaker embedding", _REMEDY)
    vector = tensors.get("embedding")
    if header.get("format") != FORMAT or vector is None or vector.ndim != 1:
        raise CheckpointError(f"{path} is not a speaker embedding of this version ({FORMAT})")
    try:
        privacy, encoder, encoder_hash = (
            json.loads(header["privacy"]),
            header["encoder"],
            header["encoder_hash"],
        )
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"the speaker embedding {path} is damaged ({type(error).__name__}): {_REMEDY}"
        ) from None
    return _checked(SpeakerEmbedding(vector, encoder, encoder_hash, privacy), f"the speaker embedding {path}")


def told(embedding: SpeakerEmbedding) -> str:
    """The embedding as one line of JSON, as a profile's header carries it."""
    return json.dumps(
        {
            "encoder": embedding.encoder,
            "encoder_hash": embedding.encoder_hash,
            "privacy": guarantee_of(embedding.privacy),
            "vector": embedding.vector.tolist(),
        }
    )


def heard_of(text: str) -> SpeakerEmbedding:
    """The inverse of :func:`told`. Raises :class:`CheckpointError`."""
    try:
        said = json.loads(text)
        vector = torch.tensor(said["vector"], dtype=torch.float32)
        found = SpeakerEmbedding(vector, said["encoder"], said["encoder_hash"], said["privacy"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"the speaker embedding in this profile is damaged ({error})") from None
    return _checked(found, "the speaker embedding in this profile")


def _checked(found: SpeakerEmbedding, called: str) -> SpeakerEmbedding:
    """``found``; raises :class:`CheckpointError` if its numbers, its names or its guarantee are none."""
    vector, named = found.vector, isinstance(found.encoder, str) and isinstance(found.encoder_hash, str)
    if not (
        vector.ndim == 1 and len(vector) and vector.is_floating_point() and bool(torch.isfinite(vector).all())
    ):
        raise CheckpointError(f"{called} is damaged: it is no vector of finite numbers: {_REMEDY}")
    if not named or not (found.privacy is None or isinstance(found.privacy, dict)):
        raise CheckpointError(
            f"{called} is damaged: what it says of its encoder or guarantee is neither: {_REMEDY}"
        )
    return found


def guarantee_of(privacy: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of a guarantee, the fields that may be told."""
    return privacy and {key: privacy[key] for key in GUARANTEE if key in privacy}
