"""Style tokens at three scales: a bank for the utterance, one for phrases, and one for parts as short as a subword.

Each scale is attended by its own pooled query, less what coarser scales have said (after Lei 2022, arXiv 2204.02743,
whose extractor has the same three levels, and An 2019, whose levels leave residuals; the combination is ours). A source
hears a recording without its text, so that phrases and subwords are equal parts of it. The finest scale is given as
tokens, for conditionings that attend over a voice in time.
"""

from __future__ import annotations

from torch import Tensor, nn

from shared_models.partition import Owner
from shared_models.speakers.heard import MEL, Heard
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.frames import FrameEncoder, part_means
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.sources.tokens import TokenAttention
from shared_models.speakers.voice import VoiceTensor

SCALES = (1, 4, 16)
"""Parts of an utterance at each scale."""


class MultiScaleStyleTokens(nn.Module):
    """A reference mel to an embedding ``(B, E)``, and tokens ``(B, 16, E)``."""

    belongs_to = Owner.SHARED
    hears = (MEL,)
    tokens = SCALES[-1]
    alone = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.frames = FrameEncoder(sizes.n_mels, sizes.style_channels, sizes.embedding)
        self.banks = nn.ModuleList(TokenAttention(sizes.embedding, sizes.embedding) for _ in SCALES)

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Weights over the tokens of each scale."""
        weights = sum(bank.weights for bank in self.banks)  # type: ignore[misc]
        return (
            VoiceTensor("multiscale_gst_weights", (len(SCALES), weights // len(SCALES)), made_by="voice"),
        )

    def forward(self, heard: Heard) -> Contribution:
        """The mean over time of all scales together, and their sum part by part."""
        own = heard.own["multiscale_gst_weights"]
        said: Tensor | None = None
        for scale, parts in enumerate(SCALES):
            query = self._queries(heard, parts, own)
            if said is not None:
                said = said.repeat_interleave(parts // said.shape[1], dim=1)
                query = query - said
            mixed = self.banks[scale](query, own[:, scale])
            said = mixed if said is None else said + mixed
        assert said is not None
        return Contribution(said.mean(1), said)

    def _queries(self, heard: Heard, parts: int, like: Tensor) -> Tensor:
        """``(B, parts, E)``: 0 for an empty reference, and for all where nobody is heard."""
        if heard.nobody:
            return like.new_zeros(len(heard.rows), parts, self.frames.output.out_features)
        mel = heard.signals[MEL]
        styles, lengths = self.frames(mel.values, mel.lengths.clamp_min(1))
        return part_means(styles, lengths, parts) * (mel.lengths > 0)[:, None, None]

    def pool(self, each: Contribution) -> Contribution:
        """The mean over the recordings."""
        return each.mean()
