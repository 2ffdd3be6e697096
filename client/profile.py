"""A voice profile: one small file with all that synthesis needs of a voice, and nothing else.

It holds AdaSpeech's serving form, the embedding and the CLN scale and shift vectors (at most 5,000
numbers), and what the voice's adaptation adds, if that is another than the base's. It is safetensors with a versioned
header that names the base model by hash. It is never a pickle, and it holds no audio, no text and no reference
recording.

The header is passed on with the file. So it holds nothing whose privacy cost is not in the ledger: not the number of
utterances, nor what the number follows from (the sampling probability, the noise that was found for a target), no other
entry of the ledger, and no time, which would link a voice to the day of its recordings. The name is the owner's choice.
A speaker embedding may travel with a voice, in the header, if it was released with an epsilon of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from client.speaker_embedding import SpeakerEmbedding, guarantee_of, heard_of, told
from shared_models.errors import CheckpointError, PrivacyError
from shared_models.files import write_atomically
from shared_models.shown_text import shown
from shared_models.speakers.voice import Voice, VoiceTensor, require_fit
from shared_models.tensor_file import read_tensors

FORMAT = "fedvoice-profile-2"
FORMATS = (FORMAT, "fedvoice-profile-1")
"""Those that are read. The first had the tensors of one conditioning, by the names that they still have."""
LARGEST_FILE = 1 << 28
"""Bytes. A voice has 5,000 numbers, or those of a whole model."""
LARGEST_NUMBER = 1_000.0
"""In size. A voice's numbers lie about 1, and noise brings them to ten or so; larger ones make but a click."""
_BASE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class VoiceProfile:
    """One cloned voice."""

    voice: Voice
    """One row."""
    base: str
    """Hash of the shared weights that it was cloned on, the only ones that it speaks with."""
    name: str
    privacy: dict[str, Any] | None = None
    """What DP-SGD guarantees of the support utterances; None if the voice was cloned without it.

    Of its fields the file holds ``unit``, ``epsilon`` (this release's target), ``delta`` and ``mechanism`` alone.
    """
    embedding: SpeakerEmbedding | None = None
    """What an encoder says of the person, released on its own; None for most."""
    adaptation: dict[str, Any] | None = None
    """How it was adapted (:attr:`SpeakerConfig.adaptation`), if not as the base's recipe says."""

    @property
    def size(self) -> int:
        """Numbers in the profile."""
        return self.voice.size


def save_profile(path: Path, profile: VoiceProfile) -> None:
    """Write a profile. Raises StorageError on a full disk, and PrivacyError for an embedding that nothing paid for."""
    header = {
        "format": FORMAT,
        "base": profile.base,
        "name": profile.name,
        "privacy": json.dumps(guarantee_of(profile.privacy)),
    }
    if profile.embedding is not None:
        if profile.embedding.privacy is None:
            raise PrivacyError(
                "a profile carries a speaker embedding only if it was released with an epsilon: make one with "
                "fedvoice embed --epsilon"
            )
        header["embedding"] = told(profile.embedding)
    if profile.adaptation is not None:
        header["adaptation"] = json.dumps(profile.adaptation)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in profile.voice.tensors.items()}
    write_atomically(path, save(tensors, header))


def profile_base(path: Path) -> str:
    """The hash of the base that a profile speaks with. Raises :class:`CheckpointError`."""
    return _read(path)[0]["base"]


def load_profile(path: Path, *, base: str, takes: Sequence[VoiceTensor] | None = None) -> VoiceProfile:
    """Read a profile that was cloned on the model with the hash ``base``, whose voice is what that model ``takes``.

    Raises :class:`CheckpointError` if it is missing, damaged, of another format or base, or does not fit.
    """
    header, tensors = _read(path)
    if header["base"] != base:
        raise CheckpointError(
            f"the voice in {path} was cloned on base {header['base'][:12]} and this base is {base[:12]}: "
            "speak with the run that it was cloned on, or clone it again"
        )
    voice = Voice(tensors)
    if takes is not None:
        try:
            require_fit(voice, takes)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
    embedding = heard_of(header["embedding"]) if "embedding" in header else None
    adaptation = _object(header.get("adaptation", "null"), "adaptation", path)
    privacy = _object(header["privacy"], "privacy", path)
    return VoiceProfile(voice, header["base"], header["name"], privacy, embedding, adaptation)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if path.is_file() and path.stat().st_size > LARGEST_FILE:
        raise CheckpointError(
            f"{path} is not a voice profile: it has {path.stat().st_size:,} bytes, and one has {LARGEST_FILE:,} at most"
        )
    header, tensors = read_tensors(path, "the voice profile", "clone the voice again")
    if header.get("format") not in FORMATS or not tensors:
        raise CheckpointError(
            f"{path} is not a voice profile of this version ({FORMAT}, and it says {header.get('format')!r})"
        )
    if missing := [key for key in ("base", "name", "privacy") if key not in header]:
        raise _damaged(path, f"its header says nothing of '{missing[0]}'")
    if not _BASE.fullmatch(header["base"]):
        raise _damaged(path, f"it names the base {header['base'][:70]!r}, which is no hash")
    _object(header["privacy"], "privacy", path)
    for name, tensor in tensors.items():
        if problem := _problem(tensor):
            raise _damaged(path, f"'{shown(name)[:40]}' {problem}")
    return header, tensors


def _object(text: str, what: str, path: Path) -> dict[str, Any] | None:
    """What the header says of ``what``: an object, or null."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged(path, f"what it says of {what} is no JSON") from None
    if found is not None and not isinstance(found, dict):
        raise _damaged(path, f"what it says of {what} is neither null nor an object")
    return found


def _problem(tensor: Tensor) -> str | None:
    """What is wrong with a tensor of one voice, ``(1, ...)`` float32; None if nothing is."""
    if tensor.dtype != torch.float32:
        return f"is {str(tensor.dtype).removeprefix('torch.')} and not float32"
    if tensor.ndim < 1 or len(tensor) != 1 or tensor.numel() == 0:
        return f"has the shape {tuple(tensor.shape)}, which is not that of one voice"
    if not bool(torch.isfinite(tensor).all()):
        return "holds NaN or infinite numbers"
    if (largest := float(tensor.abs().max())) > LARGEST_NUMBER:
        return f"holds {largest:.3g}, and no voice has a number beyond {LARGEST_NUMBER:g}"
    return None


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"the voice profile {path} is damaged: {why}; clone the voice again")
