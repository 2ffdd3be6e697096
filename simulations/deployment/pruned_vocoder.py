"""A vocoder with fewer channels inside its blocks: pruned by magnitude, and taught by the whole one on mels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from client.learning.cached_features import CachedFeatures
from shared_models.base_model import BaseModel
from shared_models.errors import RecipeError
from shared_models.export.pruning import ConvNeXtVocoder, convnext_width, prune_convnext
from shared_models.optimization import adam, descend
from shared_models.seeds import generator as random_generator
from shared_models.speakers.voice import Voice
from shared_models.vocoders import NeuralVocoder, load_vocoder, save_vocoder
from shared_models.vocoders.magnitude import CONVERGENCE_WEIGHT, FLOOR
from shared_models.vocoders.vocos import Vocos
from simulations.deployment.tuning import Progress
from simulations.preparation import Prepared

_SEGMENT, _BATCH = 64, 16
_LR, _WARM_UP = 1e-3, 50
_QUIET = 1e-3  # a segment of silence has nothing to converge to
Tune = Callable[[ConvNeXtVocoder], ConvNeXtVocoder]
"""Trains a generator a little more, and returns the one to keep."""


def prune_vocoder(
    vocoder: NeuralVocoder, ratio: float, path: Path, tune: Tune | None = None
) -> NeuralVocoder:
    """``vocoder`` made ``ratio`` times smaller, as the file ``path``.

    Raises :class:`RecipeError` for a vocoder of other blocks than ConvNeXt's, and for a ratio that no width reaches.
    """
    generator = vocoder.generator
    if not isinstance(generator, ConvNeXtVocoder):
        raise RecipeError(
            f"a vocoder of kind '{vocoder.kind}' has no channels that can be pruned alone: prune a 'magnitude' or "
            "'vocos' one"
        )
    pruned = prune_convnext(generator, convnext_width(generator, ratio))
    kept = tune(pruned.requires_grad_(True)) if tune is not None else pruned
    notes = dict(vocoder.notes) | {"pruned": f"{ratio:g} times smaller by magnitude"}
    save_vocoder(path, kept, vocoder.kind, pruned.dimensions, notes)
    return load_vocoder(path)


def spoken_mels(
    base: BaseModel, speaker: Voice, data: Prepared, count: int, progress: Progress | None = None
) -> list[Tensor]:
    """Mels ``(T, n_mels)`` to learn on: recordings of ``data``, and as many of their texts spoken by ``base``."""
    recordings = [
        features
        for u in data.train.values()
        for features in CachedFeatures(u, data.cache, data.recipe.features)
    ]
    kept = [
        recordings[row]
        for row in torch.randperm(len(recordings), generator=random_generator(1, "mels"))[:count]
    ]
    model = base.model.model.eval()
    spoken = []
    for number, f in enumerate(kept, start=1):
        with torch.no_grad():
            spoken.append(model.synthesize(f.phonemes[None], torch.tensor([len(f.phonemes)]), speaker)[0][0])
        if progress is not None:
            progress(number, len(kept))
    return [*(f.mel for f in kept), *spoken]


def tune_by_original(
    original: ConvNeXtVocoder, mels: Sequence[Tensor], steps: int, progress: Progress | None = None
) -> Tune:
    """Training to give the spectrum that ``original`` gives, for ``steps`` steps on pieces of ``mels``.

    No recording and no adversary is needed: where the original was good, so is who gives what it gives. The same
    every time on one machine.
    """
    long_enough = [mel for mel in mels if len(mel) >= _SEGMENT]
    if not long_enough:
        raise RecipeError(
            f"no recording of {_SEGMENT} frames to train the pruned vocoder on: bring longer ones"
        )

    def tune(network: ConvNeXtVocoder) -> ConvNeXtVocoder:
        parameters = list(network.parameters())
        optimizer = adam(parameters, _LR)
        rng = random_generator(1, "vocoder imitation")
        for number in range(1, steps + 1):
            optimizer.param_groups[0]["lr"] = _learning_rate(number, steps)
            mel = _segments(long_enough, rng)
            with torch.no_grad():
                theirs = _spectrum(original, mel)
            descend(_distance(_spectrum(network, mel), theirs), parameters, optimizer, clip=None)
            if progress is not None:
                progress(number, steps)
        return network

    return tune


def _learning_rate(number: int, steps: int) -> float:
    """Rising at first, then falling as a cosine."""
    return _LR * min(1.0, number / _WARM_UP) * (0.51 + 0.49 * math.cos(math.pi * number / steps))


def _segments(mels: Sequence[Tensor], rng: torch.Generator) -> Tensor:
    pieces = []
    for row in torch.randint(len(mels), (_BATCH,), generator=rng).tolist():
        start = int(torch.randint(len(mels[row]) - _SEGMENT + 1, (1,), generator=rng))
        pieces.append(mels[row][start : start + _SEGMENT])
    return torch.stack(pieces)


def _spectrum(network: ConvNeXtVocoder, mel: Tensor) -> Tensor:
    """``(B, T, bins)``: complex where the network finds the phase, else magnitudes."""
    if isinstance(network, Vocos):
        return torch.polar(*network.spectrum(mel))
    return network.log_magnitude(mel).exp()


def _distance(mine: Tensor, theirs: Tensor) -> Tensor:
    """L1 of log magnitudes and half the spectral convergence, as the magnitude vocoder is trained."""
    log = (mine.abs().clamp(min=FLOOR).log() - theirs.abs().clamp(min=FLOOR).log()).abs().mean()
    missing = torch.linalg.vector_norm(mine - theirs, dim=(1, 2))
    whole = torch.linalg.vector_norm(theirs, dim=(1, 2))
    convergence: Tensor = (missing / whole.clamp(min=_QUIET)).mean()
    return log + CONVERGENCE_WEIGHT * convergence
