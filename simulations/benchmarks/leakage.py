"""How much of what is said can be read in what says who speaks.

A linear probe reads the shares of an utterance's phonemes in its embedding, across utterances of texts that it did not
learn from, and within speakers: of both sides each speaker's mean is taken away. The share of the variance that it
explains is what leaks. Beside it stand what the same probe reads in means and deviations of the mel, which hold much
of the content, and in embeddings of the speaker's other utterances, which hold none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.errors import CorpusError, RecipeError
from shared_models.features import Features
from shared_models.seeds import derive_seed
from shared_models.speakers.content import shares_of
from shared_models.speakers.heard import Heard
from shared_models.text.symbols import VOCABULARY_SIZE
from simulations.evaluation.bootstrap import Estimate, bootstrap_of

Rows = NDArray[np.float64]
_FOLDS = 5
_RIDGES = np.logspace(-3, 3, 13)
"""Times the mean variance of a column: how much the probe is held back."""
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class Leakage:
    """Shares of the variance of the phonemes that a probe explains; intervals are over speakers."""

    embedding: Estimate
    mel: Estimate
    """The ceiling: in mean and deviation of each band."""
    others: Estimate
    """The floor: in embeddings of other utterances of the speaker."""
    identified: float
    """Share of the utterances whose embedding is nearest to the mean of the own speaker's others."""
    speakers: int
    utterances: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@torch.no_grad()
def measure_leakage(
    model: VoiceModel,
    speakers: Mapping[str, Sequence[Features]],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Leakage:
    """Probe what ``model``'s sources hear of each utterance.

    Raises :class:`RecipeError` for a model that hears nobody, and :class:`CorpusError` for too few utterances.
    """
    if not any(source.hears for source in model.sources.values()):
        raise RecipeError(
            "this base looks voices up and hears nobody, so that nothing said can leak into them"
        )
    model.eval()
    spoken = [(number, one) for number, own in enumerate(speakers.values()) for one in own]
    whose = np.array([number for number, _ in spoken])
    if len(spoken) < _FEWEST or len(speakers) < 2:
        raise CorpusError(
            f"{len(spoken)} utterances of {len(speakers)} speaker(s) are too few to probe: {_FEWEST} of 2 are needed"
        )
    embeddings, mels = [], []
    for done, (_, one) in enumerate(spoken, start=1):
        embeddings.append(model.heard_embedding(Heard.of([one.reference]))[0].double().numpy())
        mels.append(torch.cat([one.mel.mean(0), one.mel.std(0)]).double().numpy())
        progress(done, len(spoken))
    heard, content = np.stack(embeddings), _content([one for _, one in spoken])
    texts = np.unique([one.phonemes.tolist().__repr__() for _, one in spoken], return_inverse=True)[1]
    return Leakage(
        embedding=explained(heard, content, whose, texts),
        mel=explained(np.stack(mels), content, whose, texts),
        others=explained(heard[_of_others(whose)], content, whose, texts),
        identified=_identified(heard, whose),
        speakers=len(speakers),
        utterances=len(spoken),
    )


def explained(x: Rows, y: Rows, whose: NDArray[np.int64], texts: NDArray[np.int64]) -> Estimate:
    """The share of the variance of ``y (n, V)`` that a linear probe finds in ``x (n, E)``, within speakers.

    ``whose (n,)`` are speakers and ``texts (n,)`` what is said: no text is in both halves of a fold. 1 is all, and 0
    or less nothing.
    """
    x, y = _within(x, whose), _within(y, whose)
    left, there = np.zeros(len(x)), np.zeros(len(x))
    folds = _folds(texts)
    for fold in range(_FOLDS):
        held = folds == fold
        tuning = folds == (fold + 1) % _FOLDS
        ridge = min(_RIDGES, key=lambda r: _residual(x, y, ~held & ~tuning, tuning, r).sum())
        left[held] = _residual(x, y, ~held, held, ridge)
        there[held] = np.square(y[held]).sum(1)
    by_speaker = [(left[whose == one].sum(), there[whose == one].sum()) for one in np.unique(whose)]
    return bootstrap_of(by_speaker, lambda drawn: 1 - sum(d[0] for d in drawn) / sum(d[1] for d in drawn))


def _content(utterances: Sequence[Features]) -> Rows:
    """``(n, V)``: how much of an utterance's phonemes each is."""
    return np.stack(
        [shares_of(one.phonemes[None], VOCABULARY_SIZE)[0].double().numpy() for one in utterances]
    )


def _within(rows: Rows, whose: NDArray[np.int64]) -> Rows:
    """Each row less the mean of its speaker's."""
    less = rows.copy()
    for one in np.unique(whose):
        less[whose == one] -= rows[whose == one].mean(0)
    return less


def _folds(texts: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(n,)``: in which fold each utterance is tried."""
    order = np.random.default_rng(derive_seed("leakage", "folds")).permutation(texts.max() + 1)
    placed: NDArray[np.int64] = order[texts] % _FOLDS
    return placed


def _residual(x: Rows, y: Rows, learnt: NDArray[np.bool_], tried: NDArray[np.bool_], ridge: float) -> Rows:
    """Squared error ``(tried,)`` of ridge regression (Hoerl 1970)."""
    spread = x[learnt].std(0)
    # What does not vary says nothing.
    scale = np.where(spread > 1e-9, spread, np.inf)
    inputs, wanted = x[learnt] / scale, y[learnt]
    gram = inputs.T @ inputs + ridge * len(inputs) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ wanted)
    error: Rows = np.square(y[tried] - x[tried] / scale @ weights).sum(1)
    return error


def _of_others(whose: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(n,)``: for each utterance another of its speaker."""
    random, found = np.random.default_rng(derive_seed("leakage", "others")), np.arange(len(whose))
    for one in np.unique(whose):
        own = random.permutation(np.flatnonzero(whose == one))
        found[own] = np.roll(own, 1)
    return found


def _identified(heard: Rows, whose: NDArray[np.int64]) -> float:
    people = np.unique(whose)
    sums = np.stack([heard[whose == one].sum(0) for one in people])
    counts = np.array([(whose == one).sum() for one in people])
    right = 0
    for row, own in zip(heard, np.searchsorted(people, whose), strict=True):
        mine = np.arange(len(people)) == own
        centres = (sums - mine[:, None] * row) / np.maximum(counts - mine, 1)[:, None]
        right += int(np.square(centres - row).sum(1).argmin() == own)
    return right / len(heard)
