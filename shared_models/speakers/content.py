"""What is said kept out of what says who speaks: an adversary reads phonemes in the embedding, and is to be confused.

The adversary learns to tell which phonemes the reference held; the sources learn to leave it no surer than without the
embedding (domain confusion, Tzeng 2015, arXiv 1510.02192, equations 3 and 4). A reversed gradient (Ganin 2015, arXiv
1409.7495) has no such end: its sources run from the adversary without bound, and more of the content is left than
without it. It exists where several speakers train in one place, as the classification of speakers does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.features import Features
from shared_models.partition import Owner
from shared_models.speakers.adaptation.changes import uniform_start

PHONEMES = "phonemes"
"""The signal ``(N, 1)`` that says which phoneme each frame of a reference is, 0 where that is not known."""


def spoken_phonemes(features: Features) -> Tensor:
    """``(T, 1)`` float32: the phoneme of each frame by the alignment, or 0 without one."""
    if features.durations is None:
        return features.mel.new_zeros(len(features.mel), 1)
    return features.phonemes.repeat_interleave(features.durations)[:, None].to(features.mel.dtype)


def shares_of(phonemes: Tensor, vocabulary: int) -> Tensor:
    """``(B, vocabulary)``: how much of the known frames of ``phonemes (B, N)`` int64 each phoneme has; 0 for none."""
    counts = F.one_hot(phonemes, vocabulary).sum(1).float()
    counts[:, 0] = 0
    return counts / counts.sum(1, keepdim=True).clamp_min(1)


class ContentAdversary(nn.Module):
    """Embeddings ``(B, E)`` to what reading them costs the adversary, and being read costs the sources, ``(B,)``."""

    belongs_to = Owner.PERSONAL

    def __init__(self, embedding: int, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        # Given weights draw no random numbers: a model begins alike with it and without.
        self.enter = nn.Parameter(torch.empty(embedding, embedding))
        self.leave = nn.Parameter(torch.empty(vocabulary, embedding))
        self.bias = nn.Parameter(torch.empty(vocabulary))
        self.usual = nn.Parameter(torch.empty(vocabulary))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Read nothing."""
        width = len(self.enter)
        self.enter.copy_(uniform_start("content adversary", width, width) / width)
        for parameter in (self.leave, self.bias, self.usual):
            parameter.zero_()

    def forward(self, embedding: Tensor, phonemes: Tensor) -> Tensor:
        """``phonemes (B, N)`` int64, 0 where nothing is known; a row that knows none costs nothing.

        The cross-entropy of the phonemes' shares, read in the embedding (without a gradient to it) and guessed without
        it, and the divergence of what is read from that guess, whose gradient is the embedding's alone.
        """
        shares = shares_of(phonemes, self.vocabulary).to(embedding.dtype)
        guessed = F.log_softmax(self.usual, dim=0)
        read = self._read(embedding.detach(), self.enter, self.leave, self.bias)
        learnt = -(shares * (read + guessed)).sum(1)
        held = self._read(embedding, self.enter.detach(), self.leave.detach(), self.bias.detach())
        known = shares.sum(1)
        usual = guessed.detach()
        return learnt + known * (usual.exp() * (usual - held)).sum(1)

    @staticmethod
    def _read(embedding: Tensor, enter: Tensor, leave: Tensor, bias: Tensor) -> Tensor:
        """Log-probabilities ``(B, vocabulary)``."""
        return F.log_softmax(F.linear(F.relu(F.linear(embedding, enter)), leave, bias), dim=1)
