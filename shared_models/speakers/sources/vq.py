"""Style codes that vary in time (VQ-VAE: van den Oord 2017, arXiv 1711.00937), each from one codebook of everybody's.

The codebook learns by gradient. Exponential averages would read raw features outside of what is clipped, noised and
averaged. Codes and styles are compared as unit vectors, and a penalty holds the mean assignment of an utterance wide
(after wav2vec 2.0, arXiv 2006.11477, equation 4), so that the codebook does not collapse to a few of its codes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.layers.sequences import masked_mean, valid_steps
from shared_models.partition import Owner
from shared_models.speakers.heard import MEL, Heard
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.frames import FrameEncoder, part_means
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.voice import VoiceTensor

CODES = 64
PARTS = 16
"""Tokens: means of the codes over so many equal parts of a recording."""
COMMITMENT = 0.25
DIVERSITY = 0.1
TEMPERATURE = 0.1
"""Of the assignment that the diversity is measured on."""


class Codebook(nn.Module):
    """:data:`CODES` unit vectors of ``width``."""

    belongs_to = Owner.SHARED

    def __init__(self, width: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(CODES, width))

    @property
    def unit(self) -> Tensor:
        """``(CODES, width)``."""
        return F.normalize(self.codes, dim=1)

    def forward(self, styles: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``styles (B, N, width)``, ``mask (B, N)``: the codes with the styles' gradient, and a penalty ``(B,)``."""
        unit, codes = F.normalize(styles, dim=2), self.unit
        cosines = unit @ codes.T
        chosen = codes[cosines.argmax(2)]
        learnt = (chosen - unit.detach()).square().sum(2)
        committed = (unit - chosen.detach()).square().sum(2)
        usage = _usage(cosines, mask)
        narrow = 1 + (usage * usage.clamp_min(1e-9).log()).sum(1) / math.log(CODES)
        penalty = masked_mean(learnt + COMMITMENT * committed, mask) + DIVERSITY * narrow
        # Straight through: forwards the code, backwards as if nothing had been quantised.
        return unit + (chosen - unit).detach(), penalty

    def chosen(self, styles: Tensor) -> Tensor:
        """``(B, N)`` int64: which code each style is."""
        return (F.normalize(styles, dim=2) @ self.unit.T).argmax(2)


class VectorQuantised(nn.Module):
    """A reference mel to the mean of its codes ``(B, E)``, and to tokens ``(B, 16, E)`` in time."""

    belongs_to = Owner.SHARED
    hears = (MEL,)
    tokens = PARTS
    alone = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.frames = FrameEncoder(sizes.n_mels, sizes.style_channels, sizes.embedding)
        self.codebook = Codebook(sizes.embedding)
        self.output = nn.Linear(sizes.embedding, sizes.embedding, bias=False)

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Weights of the codes, which are added to what is heard."""
        return (VoiceTensor("vq_weights", (CODES,), made_by="voice"),)

    def forward(self, heard: Heard) -> Contribution:
        """The codes of each row's reference, 0 for an empty one, and the voice's own mixture of codes."""
        own = self.output(heard.own["vq_weights"] @ self.codebook.unit)
        if heard.nobody:
            return Contribution(own, own[:, None].expand(-1, PARTS, -1))
        mel = heard.signals[MEL]
        there = (mel.lengths > 0)[:, None]
        styles, lengths = self.frames(mel.values, mel.lengths.clamp_min(1))
        codes, penalty = self.codebook(styles, valid_steps(lengths, styles.shape[1]))
        tokens = self.output(part_means(codes, lengths, PARTS)) * there[:, :, None] + own[:, None]
        return Contribution(tokens.mean(1), tokens, penalty * there[:, 0])

    def pool(self, each: Contribution) -> Contribution:
        """The mean over the recordings."""
        return each.mean()


def _usage(cosines: Tensor, mask: Tensor) -> Tensor:
    """``(B, CODES)``: the mean soft assignment over an utterance's own steps."""
    weights = mask.to(cosines.dtype) / mask.sum(1, keepdim=True).clamp_min(1)
    return (torch.softmax(cosines / TEMPERATURE, dim=2) * weights[:, :, None]).sum(1)
