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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from client.speaker_embedding import SpeakerEmbedding, guarantee_of, heard_of, told
from shared_models.errors import CheckpointError, PrivacyError
from shared_models.files import write_atomically
from shared_models.speakers.voice import Voice
from shared_models.tensor_file import read_tensors

FORMAT = "fedvoice-profile-2"
FORMATS = (FORMAT, "fedvoice-profile-1")
"""Those that are read. The first had the tensors of one conditioning, by the names that they still have."""


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


def load_profile(path: Path, *, base: str) -> VoiceProfile:
    """Read a profile that was cloned on the model with the hash ``base``.

    Raises :class:`CheckpointError` if it is missing, damaged, of another format or bound to another base.
    """
    header, tensors = _read(path)
    if header["base"] != base:
        raise CheckpointError(
            f"the voice in {path} was cloned on base {header['base'][:12]} and this base is {base[:12]}: "
            "speak with the run that it was cloned on, or clone it again"
        )
    embedding = heard_of(header["embedding"]) if "embedding" in header else None
    adaptation = json.loads(header.get("adaptation", "null"))
    return VoiceProfile(
        Voice(tensors), header["base"], header["name"], json.loads(header["privacy"]), embedding, adaptation
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    header, tensors = read_tensors(path, "the voice profile", "clone the voice again")
    if header.get("format") not in FORMATS or not tensors:
        raise CheckpointError(
            f"{path} is not a voice profile of this version ({FORMAT}, and it says {header.get('format')!r})"
        )
    return header, tensors
