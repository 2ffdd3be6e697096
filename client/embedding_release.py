"""Releasing a speaker embedding by the analytic Gaussian mechanism (Balle and Wang 2018, arXiv 1805.06530).

Each utterance has one embedding, which an encoder makes of it alone. It is clipped in norm, the mean is taken, and
noise is added whose size follows from epsilon and delta exactly. For the unit ``utterance`` neighbours hold the same
number of utterances, one of them emptied, so that a mean over n moves by C / n; for the unit ``person`` everything is
emptied, and it moves by C. The number of utterances is told to nobody.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from client.home.ledger import Ledger, Spend, Unit
from client.speaker_embedding import SpeakerEmbedding
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.analytic_gaussian import analytic_noise_multiplier
from shared_models.errors import CorpusError, PrivacyError
from shared_models.noise import standard_normal

MECHANISM = "analytic Gaussian"
PURPOSE = "speaker embedding"


@dataclass(frozen=True, slots=True)
class EmbeddingTerms:
    """What one release promises."""

    epsilon: float
    delta: float
    unit: Unit = "utterance"
    clipping_norm: float = 1.0
    """C: the largest norm of one utterance's embedding."""

    def __post_init__(self) -> None:
        if not self.clipping_norm > 0:
            raise PrivacyError(f"the clipping norm must be above 0, and is {self.clipping_norm}")
        if self.unit not in ("utterance", "person"):
            raise PrivacyError(f"a release protects an 'utterance' or a 'person', not '{self.unit}'")

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise over the sensitivity.

        The mechanism's own, wider by less than 0.1 percent, so that what the ledger counts, which errs upwards, is
        within epsilon too.
        """
        return _covered_noise(self.epsilon, self.delta)

    def deviation(self, utterances: int) -> float:
        """Standard deviation of the noise on each coordinate of a mean over so many utterances."""
        weight = utterances if self.unit == "utterance" else 1
        return self.noise_multiplier * self.clipping_norm / weight

    @property
    def guarantee(self) -> dict[str, Any]:
        """What may be told of it."""
        return {"unit": self.unit, "epsilon": self.epsilon, "delta": self.delta, "mechanism": MECHANISM}


@lru_cache(maxsize=64)
def _covered_noise(epsilon: float, delta: float) -> float:
    found = analytic_noise_multiplier(epsilon, delta)
    while epsilon_of([SampledGaussian(found, 1.0)], delta) > epsilon:
        found *= 1.0001
    return found


def mean_embedding(vectors: Tensor, clipping_norm: float) -> Tensor:
    """The mean ``(E,)`` float64 of ``vectors (n, E)``, each clipped to the norm; one that is not finite counts as 0."""
    if vectors.ndim != 2 or len(vectors) == 0:
        raise CorpusError("a speaker embedding needs at least one utterance")
    real = vectors.double()
    real = torch.where(torch.isfinite(real).all(1, keepdim=True), real, 0.0)
    scale = clipping_norm / real.norm(dim=1, keepdim=True).clamp_min(clipping_norm)
    mean: Tensor = (real * scale).mean(0)
    return mean


def release(
    vectors: Tensor, terms: EmbeddingTerms, ledger: Ledger, generator: torch.Generator | None = None
) -> Tensor:
    """The noised mean ``(E,)`` float32 of ``vectors (n, E)``, whose cost is in ``ledger`` before it exists.

    ``generator`` is a simulation's; None draws from the operating system. Raises :class:`BudgetError`, and nothing
    is released, if the budget does not allow it.
    """
    mean = mean_embedding(vectors, terms.clipping_norm)
    entry = ledger.reserve(
        Spend(
            MECHANISM, terms.noise_multiplier, 1.0, 1, terms.unit, run="embedding", round=0, purpose=PURPOSE
        )
    )
    released = noised(mean, len(vectors), terms, generator)
    ledger.bind(entry, digest_of(released))
    return released


def noised(
    mean: Tensor, utterances: int, terms: EmbeddingTerms, generator: torch.Generator | None = None
) -> Tensor:
    """The mean ``(E,)`` float64 over so many utterances with the noise of ``terms``: ``(E,)`` float32.

    It costs what :func:`release` enters: nothing that is made of a person's recordings here may leave otherwise.
    """
    noise = standard_normal(len(mean), generator) * terms.deviation(utterances)
    return (mean + noise).float()


def digest_of(vector: Tensor) -> str:
    """SHA-256 of the float32 numbers of an embedding ``(E,)``: what the ledger knows it by."""
    return hashlib.sha256(vector.detach().cpu().numpy().astype("<f4").tobytes()).hexdigest()


def require_paid(embedding: SpeakerEmbedding, ledger: Ledger) -> None:
    """Raise :class:`PrivacyError` if nothing is guaranteed of it, or if it is no release that the ledger paid for.

    Terms alone pay for nothing: the ledger knows each release by its numbers.
    """
    promised = embedding.privacy
    if promised is None:
        raise PrivacyError(
            "this speaker embedding was made without an epsilon and stays on this device: make one with "
            "fedvoice embed --epsilon"
        )
    try:
        terms = EmbeddingTerms(promised["epsilon"], promised["delta"], promised["unit"])
    except KeyError as error:
        raise PrivacyError(f"this speaker embedding does not say its {error}: make it again") from None
    paid = {(e.spend.mechanism, e.spend.unit, e.spend.noise_multiplier, e.released) for e in ledger.history()}
    if (MECHANISM, terms.unit, terms.noise_multiplier, digest_of(embedding.vector)) not in paid:
        raise PrivacyError(
            f"your ledger holds no release of just this speaker embedding at epsilon {terms.epsilon:g} and delta "
            f"{terms.delta:g} for each {terms.unit}: make the embedding on this computer with fedvoice embed"
        )
