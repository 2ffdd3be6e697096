"""Monophone hidden Markov models: where each phoneme of a whole corpus is, by re-estimation (Rabiner 1989).

Mel-cepstra and their slopes, normalised by speaker, are Gaussian mixtures in each half of a phoneme. In turns, every
utterance is aligned with the likeliest path through its graph (:mod:`simulations.corpora.alignment_graph`), and the
mixtures are fitted to where their phonemes lie ("Viterbi training"), with more components from turn to turn. The
first turn takes the durations of the neural aligner, which knows no pauses but the text's and no least duration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared_models.features import Features
from shared_models.text.symbols import SILENT, STRESSES, SYMBOLS
from simulations.corpora.alignment_graph import Graph, Whole, best_durations

CEPSTRA = 13
SLOPE_FRAMES = 2
TURNS = (1, 1, 2, 4, 8, 8)
"""Components of each mixture, turn by turn."""
VARIANCE_FLOOR = 0.05
SMOOTHING = 2.0
"""Frames' worth of the variance of everything, in each component: what few frames say is not believed alone."""
BATCH = 48


def _sound_of(symbol: str) -> str:
    """What a symbol shares its mixtures with: stress is not heard in a spectrum, nor is a pause's spelling."""
    return "" if symbol in SILENT else symbol.lstrip("".join(STRESSES))


SOUNDS = sorted({_sound_of(symbol) for symbol in SYMBOLS})
_CLASS = {symbol: 2 * SOUNDS.index(_sound_of(symbol)) for symbol in SYMBOLS}


@dataclass(frozen=True, slots=True)
class Mixtures:
    """E classes (two a sound) of C Gaussians with diagonal covariance over D numbers a frame."""

    weight: Tensor
    """``(E, C)``."""
    mean: Tensor
    """``(E, C, D)``."""
    variance: Tensor
    """``(E, C, D)``."""

    def components(self, x: Tensor) -> Tensor:
        """Weighted log-densities of ``x (T, D)``: ``(T, E, C)``."""
        e, c, d = self.mean.shape
        precision = 1 / self.variance
        squares = x.square() @ precision.flatten(0, 1).T
        crossed = x @ (self.mean * precision).flatten(0, 1).T
        constant = (self.mean.square() * precision + self.variance.log()).sum(2) + d * math.log(2 * math.pi)
        return (crossed - squares / 2).view(-1, e, c) + self.weight.clamp_min(1e-8).log() - constant / 2

    def of(self, classes: Whole) -> Mixtures:
        """Those of ``classes (N,)`` alone, in that order."""
        chosen = torch.from_numpy(classes)
        return Mixtures(self.weight[chosen], self.mean[chosen], self.variance[chosen])

    def split(self) -> Mixtures:
        """Twice as many components, a little apart."""
        apart = 0.2 * self.variance.sqrt()
        return Mixtures(
            torch.cat([self.weight, self.weight], 1) / 2,
            torch.cat([self.mean - apart, self.mean + apart], 1),
            torch.cat([self.variance, self.variance], 1),
        )


def cepstra(mel: Tensor) -> Tensor:
    """``mel (T, n_mels)`` to cepstra and their slopes ``(T, 2 * CEPSTRA)``, in units of their own."""
    bands = mel.shape[1]
    angles = math.pi / bands * (torch.arange(bands) + 0.5) * torch.arange(CEPSTRA)[:, None]
    found = mel @ angles.cos().T * math.sqrt(2 / bands)
    padded = torch.cat([found[:1].expand(SLOPE_FRAMES, -1), found, found[-1:].expand(SLOPE_FRAMES, -1)])
    count = len(found)
    slopes = sum(
        k * (padded[SLOPE_FRAMES + k :][:count] - padded[SLOPE_FRAMES - k :][:count])
        for k in range(1, SLOPE_FRAMES + 1)
    )
    return torch.cat([found, torch.as_tensor(slopes)], dim=1)


def normalised_by_speaker(items: Mapping[str, Features], speaker_of: Mapping[str, str]) -> dict[str, Tensor]:
    """The cepstra of each utterance, of mean 0 and standard deviation 1 over all that its speaker says."""
    by_speaker: dict[str, list[str]] = {}
    for name in items:
        by_speaker.setdefault(speaker_of[name], []).append(name)
    found: dict[str, Tensor] = {}
    for names in by_speaker.values():
        heard = {name: cepstra(items[name].mel) for name in names}
        everything = torch.cat(list(heard.values()))
        centre, spread = everything.mean(0), everything.std(0).clamp_min(1e-3)
        found |= {name: (x - centre) / spread for name, x in heard.items()}
    return found


def align_corpus(
    graphs: Mapping[str, Graph],
    cepstra_of: Mapping[str, Tensor],
    first: Mapping[str, Whole],
    learn_from: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Whole]:
    """Frames of each slot of each graph; an utterance too short to be aligned is left out.

    ``first`` are the durations to begin with, ``learn_from`` the utterances that the mixtures are fitted to: the
    others are aligned with what those teach.
    """
    mixtures: Mixtures | None = None
    durations = {name: first[name] for name in learn_from}
    for turn, components in enumerate(TURNS):
        mixtures = fitted(mixtures, components, graphs, cepstra_of, durations)
        last = turn == len(TURNS) - 1
        durations = aligned(mixtures, graphs, cepstra_of, list(graphs) if last else learn_from)
        if progress is not None:
            progress(turn + 1, len(TURNS))
    return durations


def aligned(
    mixtures: Mixtures, graphs: Mapping[str, Graph], cepstra_of: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Whole]:
    """The likeliest durations of ``names`` by ``mixtures``."""
    found: dict[str, Whole] = {}
    # Alike in duration, so that a batch is hardly padded.
    order = sorted(names, key=lambda name: len(cepstra_of[name]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        scores = []
        for name in chosen:
            # Of the hundreds of classes an utterance has some dozens.
            own, states = np.unique(_classes(graphs[name]), return_inverse=True)
            likelihood = mixtures.of(own).components(cepstra_of[name]).logsumexp(2)
            scores.append(likelihood.numpy()[:, states])
        best = best_durations([graphs[name] for name in chosen], scores)
        found |= {name: d for name, d in zip(chosen, best, strict=True) if d is not None}
    return found


def fitted(
    before: Mixtures | None,
    components: int,
    graphs: Mapping[str, Graph],
    cepstra_of: Mapping[str, Tensor],
    durations: Mapping[str, Whole],
) -> Mixtures:
    """Mixtures of ``components`` each, fitted to the frames that ``durations`` give each class.

    One step of expectation and maximisation from ``before``, split where it has fewer components.
    """
    width = 2 * CEPSTRA
    mixtures = before or Mixtures(
        torch.ones(2 * len(SOUNDS), 1),
        torch.zeros(2 * len(SOUNDS), 1, width),
        torch.ones(2 * len(SOUNDS), 1, width),
    )
    while mixtures.mean.shape[1] < components:
        mixtures = mixtures.split()
    size = mixtures.mean.shape[0] * components
    counts = torch.zeros(size)
    sums, squares = torch.zeros(size, width), torch.zeros(size, width)
    for name, found in durations.items():
        x, classes = cepstra_of[name], frame_classes(graphs[name], found)
        own, which = np.unique(classes, return_inverse=True)
        share = mixtures.of(own).components(x)[torch.arange(len(x)), torch.from_numpy(which)].softmax(1)
        place = (torch.from_numpy(classes)[:, None] * components + torch.arange(components)).flatten()
        weighted = (share[:, :, None] * x[:, None]).flatten(0, 1)
        counts.index_add_(0, place, share.flatten())
        sums.index_add_(0, place, weighted)
        squares.index_add_(0, place, (weighted.view(len(x), components, width) * x[:, None]).flatten(0, 1))
    counts, total = counts[:, None], counts.view(-1, components)
    mean = sums / (counts + SMOOTHING)
    variance = (squares + SMOOTHING) / (counts + SMOOTHING) - mean.square()
    shape = (-1, components, width)
    return Mixtures(
        (total + 1e-3) / (total + 1e-3).sum(1, keepdim=True),
        mean.view(shape),
        variance.clamp_min(VARIANCE_FLOOR).view(shape),
    )


def frame_classes(graph: Graph, durations: Whole) -> Whole:
    """The class of each frame ``(T,)``: of a sounding symbol's frames, half are each of its states."""
    found = []
    for symbol, frames in zip(graph.symbols, durations.tolist(), strict=True):
        second = frames // 2 if symbol not in SILENT else 0
        found += [_CLASS[symbol]] * (frames - second) + [_CLASS[symbol] + 1] * second
    return np.array(found, dtype=np.int64)


def _classes(graph: Graph) -> Whole:
    first: Whole = np.array([_CLASS[symbol] for symbol in graph.symbols], dtype=np.int64)
    states: Whole = first[graph.slot] + graph.state
    return states
