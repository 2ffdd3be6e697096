"""What the acoustic model is told about a speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SpeakerCondition:
    """One speaker a row: B rows, embedding E, S conditional layer norms of width H, P prosody numbers.

    Scales and shifts are final: what the maps say of the embedding, plus the voice's own offsets.
    """

    embedding: Tensor
    """``(B, E)``."""
    cln_scale: Tensor
    """``(B, S, H)``."""
    cln_shift: Tensor
    """``(B, S, H)``."""
    prosody: Tensor
    """``(B, P)``: pitch register, log pitch range, energy, log speaking rate."""

    def __len__(self) -> int:
        return len(self.embedding)

    def detach(self) -> SpeakerCondition:
        """The same numbers without their history."""
        return SpeakerCondition(*(tensor.detach() for tensor in self._tensors()))

    def mean(self) -> SpeakerCondition:
        """One row: the mean over all B, for instance over several recordings of one speaker."""
        return SpeakerCondition(*(tensor.mean(0, keepdim=True) for tensor in self._tensors()))

    def expand(self, batch: int) -> SpeakerCondition:
        """One row repeated ``batch`` times. Raises ValueError if there is more than one row."""
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(
                f"cannot expand {len(self)} speakers to {batch} utterances: give one, or {batch}"
            )
        return SpeakerCondition(*(t.expand(batch, *t.shape[1:]) for t in self._tensors()))

    def rows(self, numbers: Tensor) -> SpeakerCondition:
        """The rows ``numbers (N,)`` int64, in that order."""
        return SpeakerCondition(*(tensor[numbers] for tensor in self._tensors()))

    def at_sites(self, numbers: Sequence[int]) -> SpeakerCondition:
        """The same speaker for a model that has the conditional norms ``numbers`` alone, in that order."""
        kept = list(numbers)
        return SpeakerCondition(
            self.embedding, self.cln_scale[:, kept], self.cln_shift[:, kept], self.prosody
        )

    @classmethod
    def joined(cls, conditions: Sequence[SpeakerCondition]) -> SpeakerCondition:
        """The rows of all of them, one after the other."""
        return cls(*(torch.cat(parts) for parts in zip(*(c._tensors() for c in conditions), strict=True)))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.embedding, self.cln_scale, self.cln_shift, self.prosody


def serving_vectors(condition: SpeakerCondition) -> Tensor:
    """All that synthesis needs of a speaker, folded into one vector: ``(B, E + 2 S H + P)``.

    With it, neither the maps nor a reference recording are needed any more: this is what a voice weighs
    (AdaSpeech's 4.9 K numbers). :func:`condition_from_vectors` unfolds it.
    """
    parts = (condition.embedding, condition.cln_scale, condition.cln_shift, condition.prosody)
    return torch.cat([part.detach().flatten(1) for part in parts], dim=1)


def condition_from_vectors(
    vectors: Tensor, *, embedding: int, sites: int, hidden: int, prosody: int
) -> SpeakerCondition:
    """The inverse of :func:`serving_vectors`. Raises ValueError if the width is not this model's."""
    widths = [embedding, sites * hidden, sites * hidden, prosody]
    if vectors.ndim != 2 or vectors.shape[1] != sum(widths):
        raise ValueError(
            f"a voice of shape {tuple(vectors.shape)} does not fit a model that takes {sum(widths)} numbers "
            "a speaker: it was made for another recipe"
        )
    e, scale, shift, p = torch.split(vectors, widths, dim=1)
    return SpeakerCondition(e, scale.view(-1, sites, hidden), shift.view(-1, sites, hidden), p)
