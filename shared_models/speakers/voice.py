"""A voice: the named tensors that synthesis needs of one speaker, whatever made them.

Which tensors a voice has is what a model declares as :class:`VoiceTensor` (its ``takes``). A profile's content, the
serving form and the inputs of an exported graph all follow from these names and shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shared_models.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class VoiceTensor:
    """One tensor of a voice, as a model declares it."""

    name: str
    shape: tuple[int, ...]
    """Of one voice, without the batch."""
    made_by: Literal["sources", "maps", "voice"]
    """The sources of the speaker embedding, the conditioning's maps of it, or the voice's own numbers alone."""
    by_site: bool = False
    """Whether the first axis counts the S conditional norms of the decoder."""
    start: Callable[[], Tensor] | None = None
    """Gives a newcomer's own numbers, of ``shape`` and the same every time; 0 if None."""
    unit: float = 1.0
    """What is kept over ``unit`` is what acts: a layer's fan-in for its change (:mod:`.adaptation.changes`)."""

    def started(self) -> Tensor:
        """A newcomer's own numbers, of ``shape``."""
        return torch.zeros(self.shape) if self.start is None else self.start()


@dataclass(frozen=True, slots=True)
class Voice:
    """B voices, one a row: ``voice["embedding"]`` is ``(B, E)``.

    With conditional layer norms a voice has ``embedding (B, E)``, ``cln_scale`` and ``cln_shift (B, S, H)`` and
    ``prosody (B, P)``. All are final: what the maps say of the embedding, plus the voice's own offsets.
    """

    tensors: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def size(self) -> int:
        """Numbers in all rows together."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def detach(self) -> Voice:
        """The same numbers without their history."""
        return Voice({name: tensor.detach() for name, tensor in self.tensors.items()})

    def to(self, device: torch.device) -> Voice:
        """The same numbers on another device."""
        return Voice({name: tensor.to(device) for name, tensor in self.tensors.items()})

    def expand(self, batch: int) -> Voice:
        """One row repeated ``batch`` times. Raises ValueError if there is more than one row."""
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(
                f"cannot expand {len(self)} speakers to {batch} utterances: give one, or {batch}"
            )
        return Voice({name: t.expand(batch, *t.shape[1:]) for name, t in self.tensors.items()})

    def rows(self, numbers: Tensor) -> Voice:
        """The rows ``numbers (N,)`` int64, in that order."""
        return Voice({name: tensor[numbers] for name, tensor in self.tensors.items()})

    def at_sites(self, sites: Sequence[int], takes: Sequence[VoiceTensor]) -> Voice:
        """The same voice for a model that has the conditional norms ``sites`` alone, in that order.

        ``takes`` is what the model of this voice declares.
        """
        by_site = {declared.name for declared in takes if declared.by_site}
        kept = list(sites)
        return Voice({name: t[:, kept] if name in by_site else t for name, t in self.tensors.items()})

    @classmethod
    def joined(cls, voices: Sequence[Voice]) -> Voice:
        """The rows of all of them, one after the other."""
        return cls({name: torch.cat([voice[name] for voice in voices]) for name in voices[0]})


def require_fit(voice: Voice, takes: Sequence[VoiceTensor]) -> None:
    """Raise :class:`CheckpointError` if ``voice`` is not what a model that declares ``takes`` speaks with."""
    found = {name: tuple(tensor.shape[1:]) for name, tensor in voice.tensors.items()}
    wanted = {declared.name: declared.shape for declared in takes}
    if found != wanted:
        raise CheckpointError(
            f"a voice of {_described(found)} does not fit a model that takes {_described(wanted)}: it was made for "
            "another recipe, so clone it again"
        )


def serving_vectors(voice: Voice, takes: Sequence[VoiceTensor]) -> Tensor:
    """All that synthesis needs of a speaker, folded into one vector a row: ``(B, N)``, in the order of ``takes``.

    With it, neither maps nor a reference recording are needed any more: this is what a voice weighs
    (AdaSpeech's 4.9 K numbers). :func:`voice_from_vectors` unfolds it.
    """
    require_fit(voice, takes)
    return torch.cat([voice[declared.name].detach().reshape(len(voice), -1) for declared in takes], dim=1)


def voice_from_vectors(vectors: Tensor, takes: Sequence[VoiceTensor]) -> Voice:
    """The inverse of :func:`serving_vectors`. Raises :class:`CheckpointError` if the width is not this model's."""
    widths = [math.prod(declared.shape) for declared in takes]
    if vectors.ndim != 2 or vectors.shape[1] != sum(widths):
        raise CheckpointError(
            f"a voice of shape {tuple(vectors.shape)} does not fit a model that takes {sum(widths)} numbers "
            "a speaker: it was made for another recipe"
        )
    parts = torch.split(vectors, widths, dim=1)
    return Voice({d.name: part.view(-1, *d.shape) for d, part in zip(takes, parts, strict=True)})


def _described(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "nothing"
