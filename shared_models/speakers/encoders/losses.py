"""Losses that train a speaker encoder to tell speakers apart.

Each takes embeddings ``(N, M, E)`` of M utterances of N speakers, and the speakers' numbers ``(N,)``.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LossKind = Literal["softmax", "aam", "ge2e"]


class SoftmaxLoss(nn.Module):
    """Cross-entropy of a linear classifier over the training speakers."""

    def __init__(self, width: int, speakers: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, speakers)

    def forward(self, embeddings: Tensor, speakers: Tensor) -> Tensor:
        """The mean over all N M utterances."""
        return F.cross_entropy(self.linear(embeddings.flatten(0, 1)), _each(speakers, embeddings))


class AAMSoftmaxLoss(nn.Module):
    """Additive angular margin (ArcFace, Deng 2019, arXiv 1801.07698): cos(angle + margin) to the own speaker's weight.

    Beyond pi - margin, where the cosine would rise again, the penalty is linear, as in the authors' program.
    """

    def __init__(self, width: int, speakers: int, margin: float = 0.2, scale: float = 30.0) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(torch.empty(speakers, width))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embeddings: Tensor, speakers: Tensor) -> Tensor:
        """The mean over all N M utterances."""
        labels = _each(speakers, embeddings)
        cosine = F.linear(F.normalize(embeddings.flatten(0, 1), dim=1), F.normalize(self.weight, dim=1))
        own = cosine.gather(1, labels[:, None])
        sine = (1 - own.square()).clamp_min(1e-12).sqrt()
        turned = own * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = own - math.sin(self.margin) * self.margin
        turned = torch.where(own > -math.cos(self.margin), turned, beyond)
        return F.cross_entropy(self.scale * cosine.scatter(1, labels[:, None], turned), labels)


class GE2ELoss(nn.Module):
    """Generalized end-to-end loss (Wan 2018, arXiv 1710.10467, equations 5, 6, 8, 9): own centroid against the others'.

    The own speaker's centroid leaves the utterance itself out. The scale w is learnt as its logarithm, so that it
    cannot become negative.
    """

    def __init__(self, form: Literal["softmax", "contrast"] = "softmax") -> None:
        super().__init__()
        self.form = form
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.shift = nn.Parameter(torch.tensor(-5.0))

    def similarity(self, embeddings: Tensor) -> Tensor:
        """``(N, M, N)``: scaled cosine of each utterance to each speaker's centroid. M is 2 or more."""
        speakers, utterances, _ = embeddings.shape
        total = embeddings.sum(1)
        others = (total[:, None] - embeddings) / (utterances - 1)
        to_all = torch.einsum("nme,ke->nmk", F.normalize(embeddings, dim=2), F.normalize(total, dim=1))
        to_own = F.cosine_similarity(embeddings, others, dim=2)
        own = torch.eye(speakers, dtype=torch.bool, device=embeddings.device)[:, None]
        return self.log_scale.exp() * torch.where(own, to_own[:, :, None], to_all) + self.shift

    def forward(self, embeddings: Tensor, speakers: Tensor) -> Tensor:  # noqa: ARG002 (it tells those present apart)
        """The mean over all N M utterances."""
        similar = self.similarity(embeddings)
        count = len(similar)
        own = torch.arange(count, device=similar.device)[:, None].expand(similar.shape[:2])
        if self.form == "softmax":
            return F.cross_entropy(similar.flatten(0, 1), own.flatten())
        likely = torch.sigmoid(similar)
        right = likely.gather(2, own[:, :, None])[:, :, 0]
        wrong = likely.scatter(2, own[:, :, None], 0.0).amax(2)
        return (1 - right + wrong).mean()


def build_loss(kind: LossKind, width: int, speakers: int) -> nn.Module:
    """The loss of that kind over embeddings of ``width``, for so many training speakers."""
    match kind:
        case "softmax":
            return SoftmaxLoss(width, speakers)
        case "aam":
            return AAMSoftmaxLoss(width, speakers)
        case "ge2e":
            return GE2ELoss()


def _each(speakers: Tensor, embeddings: Tensor) -> Tensor:
    """``(N M,)``: whose each utterance is."""
    return speakers[:, None].expand(embeddings.shape[:2]).flatten()
