"""Global style tokens, in one bank (Wang 2018, arXiv 1803.09017) or in several with residuals (An 2019).

The tokens and the attention over them are everybody's. A voice keeps weights of its own, which are added to the
attention's scores; where nobody is heard they alone decide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.partition import Owner
from shared_models.speakers.heard import MEL, Heard
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.reference_encoder import WIDTH, ReferenceEncoder
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.sources.tokens import TokenAttention
from shared_models.speakers.voice import VoiceTensor

LEVELS = 3


class GlobalStyleTokens(nn.Module):
    """A reference mel to a mixture of tokens ``(B, E)``."""

    belongs_to = Owner.SHARED
    hears = (MEL,)
    tokens = 0
    alone = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.reference = ReferenceEncoder(sizes.n_mels)
        self.attention = TokenAttention(WIDTH, sizes.embedding)

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Weights over the tokens."""
        return (VoiceTensor("gst_weights", (self.attention.weights,), made_by="voice"),)

    def forward(self, heard: Heard) -> Contribution:
        """The mixture that each row's reference and own weights ask for."""
        own = heard.own["gst_weights"]
        return Contribution(self.attention(heard_as(self.reference, heard, own), own))

    def pool(self, each: Contribution) -> Contribution:
        """The mean over the recordings."""
        return each.mean()


class HierarchicalStyleTokens(nn.Module):
    """Several banks: each explains what the banks before it left, and all are added up.

    ``r_0`` is the reference, ``s_l`` the mixture of bank l that ``r_(l-1)`` asks for, and ``r_l = r_(l-1) - s_l``. The
    paper (An 2019, ASRU) does not settle the form of its residual here; this is the usual reading.
    """

    belongs_to = Owner.SHARED
    hears = (MEL,)
    tokens = 0
    alone = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.reference = ReferenceEncoder(sizes.n_mels)
        self.first = nn.Linear(WIDTH, sizes.embedding)
        self.banks = nn.ModuleList(TokenAttention(sizes.embedding, sizes.embedding) for _ in range(LEVELS))

    @property
    def weights(self) -> int:
        """Of one bank."""
        return sum(bank.weights for bank in self.banks) // LEVELS  # type: ignore[misc]

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Weights over the tokens of each bank."""
        return (VoiceTensor("hierarchical_gst_weights", (LEVELS, self.weights), made_by="voice"),)

    def forward(self, heard: Heard) -> Contribution:
        """The sum over all levels."""
        return Contribution(self.by_level(heard).sum(1))

    def by_level(self, heard: Heard) -> Tensor:
        """``(B, LEVELS, E)``: what each bank says."""
        own = heard.own["hierarchical_gst_weights"]
        left, said = self.first(heard_as(self.reference, heard, own)), []
        for level, bank in enumerate(self.banks):
            said.append(bank(left, own[:, level]))
            left = left - said[-1]
        return torch.stack(said, dim=1)

    def pool(self, each: Contribution) -> Contribution:
        """The mean over the recordings."""
        return each.mean()


def heard_as(reference: ReferenceEncoder, heard: Heard, like: Tensor) -> Tensor:
    """What the reference encoder says ``(B, 128)``: 0 for an empty reference, and for all where nobody is heard."""
    if heard.nobody:
        return like.new_zeros(len(heard.rows), WIDTH)
    mel = heard.signals[MEL]
    said: Tensor = reference(mel.values, mel.lengths.clamp_min(1)) * (mel.lengths > 0)[:, None]
    return said
