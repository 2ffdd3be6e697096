"""What a source of the speaker embedding is, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from shared_models.speakers.heard import Heard
from shared_models.speakers.voice import VoiceTensor


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one source says of B speakers. Embeddings of several sources are added up."""

    embedding: Tensor
    """``(B, E)``."""
    tokens: Tensor | None = None
    """``(B, N, E)`` for conditionings that attend over a voice; those of several sources are put side by side."""
    penalty: Tensor | None = None
    """``(B,)``: added to each utterance's loss in training, as a codebook's commitment is."""

    def mean(self) -> Contribution:
        """One row: the mean over all B, without the penalty, which no voice has."""
        tokens = None if self.tokens is None else self.tokens.mean(0, keepdim=True)
        return Contribution(self.embedding.mean(0, keepdim=True), tokens)

    @classmethod
    def total(cls, parts: Sequence[Contribution]) -> Contribution:
        """What several sources say together."""
        embedding = parts[0].embedding
        for part in parts[1:]:
            embedding = embedding + part.embedding
        tokens = [part.tokens for part in parts if part.tokens is not None]
        penalties = [part.penalty for part in parts if part.penalty is not None]
        return cls(
            embedding,
            torch.cat(tokens, dim=1) if tokens else None,
            torch.stack(penalties).sum(0) if penalties else None,
        )


class Source(Protocol):
    """A module that hears a speaker, or looks one up.

    It is made of a model's :class:`Sizes`, and of the recipe's ``[speaker]`` where its constructor takes a ``speaker``.
    It ``belongs_to`` an owner like every module of ours; a part of it may be ``Owner.FROZEN``. Where nobody is heard,
    a source that hears is not asked, unless it says something ``alone``: its contribution is 0.
    """

    @property
    def hears(self) -> tuple[str, ...]:
        """Signals that it needs; none for one that looks voices up."""

    @property
    def alone(self) -> bool:
        """Whether a source that hears says something where nobody is heard, of what the voice keeps."""

    @property
    def tokens(self) -> int:
        """N, how many tokens it contributes; 0 for most."""

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """What it wants every voice to keep of its own, which starts at 0: found as ``heard.own[name] (B, ...)``."""

    def pool(self, each: Contribution) -> Contribution:
        """One row for one speaker, from what the source says of each of B recordings of that speaker."""

    def __call__(self, heard: Heard) -> Contribution:
        """What it says of each row of ``heard``."""
