"""A recipe's sections on data: whose recordings take part, and what is learnt of public speech before."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared_models.recipe_section import Section


class CorpusConfig(Section):
    """Which speakers take part, and how much of each."""

    path: str = Field("embedded", description="'embedded' for the packaged voices, or a folder or CSV.")
    layout: Literal["auto", "embedded", "csv", "folder", "ljspeech", "vctk", "libritts", "aishell3"] = Field(
        "auto", description="How the corpus is laid out; 'auto' recognises it."
    )
    speakers: int | None = Field(None, ge=1, description="At most so many train speakers; all by default.")
    test_speakers: int | None = Field(None, ge=1, description="At most so many unseen speakers.")
    only: str = Field(
        "*", description="Train speakers whose id matches, as 'k_*'; unseen ones are not chosen by it."
    )
    utterances: int | None = Field(None, ge=2, description="At most so many utterances a train speaker.")
    min_seconds: float = Field(0.8, gt=0, description="Shorter recordings are left out (seconds).")
    max_seconds: float = Field(14.0, gt=0, description="Longer recordings are left out (seconds).")


class PretrainingConfig(Section):
    """Centralised training on public speech before the first round; every arm starts from its weights."""

    start: str | None = Field(
        None,
        description="A base to start from instead of random weights: 'packaged', a run folder, a checkpoint, or a "
        "published model's folder. It must have all of this model's shared tensors.",
    )
    fresh: tuple[str, ...] = Field(
        (), description="Shared tensors that begin at random all the same, as 'acoustic.source.*'."
    )
    steps: int = Field(0, ge=0, description="0 leaves the weights as they start.")
    corpus: str = Field(
        "embedded", description="Public speech: 'embedded' for the packaged synthetic voices."
    )
    only: str = Field("*", description="Its speakers whose id matches; none of them may also be a client.")
    aligner_steps: int = Field(0, ge=0, description="First steps that train the aligner alone.")
    lr: float = Field(1e-3, gt=0)
    batch_size: int = Field(6, ge=1)
