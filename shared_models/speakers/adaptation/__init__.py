"""Which parameters are one speaker's own: one file a kind, and one line here; ``speaker.personal`` in a recipe.

Kinds that are joined by ``+`` are taken together: ``vectors+lora`` trains both.
"""

from __future__ import annotations

from typing import Literal

from shared_models.kinds import known

ADAPTATIONS = {
    "vectors": "shared_models.speakers.adaptation.vectors.Vectors",
    "maps": "shared_models.speakers.adaptation.maps.PersonalMaps",
    "none": "shared_models.speakers.adaptation.nothing.Nothing",
    "embedding": "shared_models.speakers.adaptation.embedding.EmbeddingOnly",
    "variance_norms": "shared_models.speakers.adaptation.variance_norms.VarianceNorms",
    "lora": "shared_models.speakers.adaptation.lora.LowRank",
    "adapters": "shared_models.speakers.adaptation.adapters.Adapters",
    "masks": "shared_models.speakers.adaptation.masks.SelectiveMasks",
    "whole": "shared_models.speakers.adaptation.whole.WholeModel",
}
NOTHING = "none"
Site = Literal[
    "phonemes",
    "encoder",
    "encoder.attention",
    "encoder.feed_forward",
    "variance",
    "decoder",
    "decoder.attention",
    "decoder.feed_forward",
    "mel",
    "source",
    "postnet",
]
"""Parts of the acoustic model whose layers a voice may change."""


def kinds_of(personal: str) -> tuple[str, ...]:
    """The kinds that ``speaker.personal`` names. Raises ValueError for an unknown one, and for one named twice."""
    kinds = tuple(known(kind.strip(), ADAPTATIONS, "personal set") for kind in personal.split("+"))
    if len(set(kinds)) < len(kinds):
        raise ValueError("a personal set is named twice: name each once")
    if NOTHING in kinds and len(kinds) > 1:
        raise ValueError(f"'{NOTHING}' trains nothing and cannot be joined with another personal set")
    return kinds
