"""The speaker table: every voice has an embedding of its own, which is looked up."""

from __future__ import annotations

from torch import nn

from shared_models.partition import Owner
from shared_models.speakers.heard import Heard
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.voice import VoiceTensor


class Table(nn.Module):
    """A voice's own embedding ``(B, E)``. It has no tensor itself: the embeddings are among the voices' own."""

    belongs_to = Owner.SHARED
    hears = ()
    tokens = 0
    alone = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.width = sizes.embedding

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """The embedding ``(E,)``."""
        return (VoiceTensor("embedding", (self.width,), made_by="voice"),)

    def forward(self, heard: Heard) -> Contribution:
        """The embeddings of the rows."""
        return Contribution(heard.own["embedding"])

    def pool(self, each: Contribution) -> Contribution:
        """Any row: it does not depend on a recording."""
        return Contribution(each.embedding[:1])
