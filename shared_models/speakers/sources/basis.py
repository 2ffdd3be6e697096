"""A speaker space of basis vectors (AdaSpeech 4, arXiv 2204.00436): a voice is its weights over a shared basis.

A reference attends over the basis; a voice's own weights are added to the scores, and where nobody is heard they alone
decide. The basis is held orthogonal by ``|B B' - I|^2 / n^2`` of its unit vectors, which is bounded, where a sum of
cosines would reward opposite ones. The paper has about 2,000 vectors; no more than E can be orthogonal, so E / 2 are
taken, and 64 at most.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.partition import Owner
from shared_models.speakers.heard import MEL, Heard
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.gst import heard_as
from shared_models.speakers.sources.reference_encoder import WIDTH, ReferenceEncoder
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.voice import VoiceTensor

MOST = 64
ORTHOGONALITY = 1.0
"""Weight of the penalty."""


class Basis(nn.Module):
    """A reference mel to a mixture of basis vectors ``(B, E)``."""

    belongs_to = Owner.SHARED
    hears = (MEL,)
    tokens = 0
    alone = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        count = min(MOST, sizes.embedding // 2)
        self.reference = ReferenceEncoder(sizes.n_mels)
        self.query = nn.Linear(WIDTH, sizes.embedding)
        self.vectors = nn.Parameter(torch.randn(count, sizes.embedding))

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Weights over the basis."""
        return (VoiceTensor("basis_weights", (len(self.vectors),), made_by="voice"),)

    def forward(self, heard: Heard) -> Contribution:
        """The mixture, and how far the basis is from orthogonal as each utterance's penalty."""
        own = heard.own["basis_weights"]
        query = self.query(heard_as(self.reference, heard, own))
        weights = torch.softmax(query @ self.vectors.T / self.vectors.shape[1] ** 0.5 + own, dim=-1)
        penalty = ORTHOGONALITY * self.coherence().expand(len(own))
        return Contribution(weights @ self.vectors, penalty=penalty)

    def coherence(self) -> Tensor:
        """``()``: 0 for an orthogonal basis, and below 1 for any."""
        unit = F.normalize(self.vectors, dim=1)
        apart = unit @ unit.T - torch.eye(len(unit), device=unit.device, dtype=unit.dtype)
        return apart.square().mean()

    def pool(self, each: Contribution) -> Contribution:
        """The mean over the recordings."""
        return each.mean()
