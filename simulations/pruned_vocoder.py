"""A Vocos with fewer channels inside its blocks: pruned by magnitude and, where there are waves, trained again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from client.vocoder_training import VocoderTrainer
from shared_models.audio.wave_segments import random_segments
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.export.pruning import prune_vocos, vocos_width
from shared_models.seeds import generator
from shared_models.vocoders import NeuralVocoder, load_vocoder, save_vocoder
from shared_models.vocoders.vocos import Vocos
from simulations.tuning import Progress
from simulations.vocoder_waves import VocoderWaves

Tune = Callable[[nn.Module], nn.Module]
"""Trains a generator a little more, and returns the one to keep."""


def prune_vocoder(
    vocoder: NeuralVocoder, ratio: float, path: Path, tune: Tune | None = None
) -> NeuralVocoder:
    """``vocoder`` made ``ratio`` times smaller, as the file ``path``.

    Raises :class:`RecipeError` for a vocoder other than Vocos, and for a ratio that no width reaches.
    """
    if not isinstance(vocoder.generator, Vocos):
        raise RecipeError(
            f"a vocoder of kind '{vocoder.kind}' has no channels that can be pruned alone: prune with Vocos"
        )
    pruned = prune_vocos(vocoder.generator, vocos_width(vocoder.generator, ratio))
    kept = tune(pruned.requires_grad_(True)) if tune is not None else pruned
    notes = dict(vocoder.notes) | {"pruned": f"{ratio:g} times smaller by magnitude"}
    save_vocoder(path, kept, vocoder.kind, pruned.dimensions, notes)
    return load_vocoder(path)


def tune_on_waves(recipe: Recipe, waves: VocoderWaves, steps: int, progress: Progress | None = None) -> Tune:
    """Training as ``recipe.vocoder`` says, for ``steps`` steps: the same every time on one machine."""
    config = recipe.override({"vocoder.steps": steps}).vocoder

    def tune(network: nn.Module) -> nn.Module:
        speakers = list(waves.long_enough(config.drawn_frames).train.values())
        trainer = VocoderTrainer(network, config, recipe.seed)
        for number in range(1, steps + 1):
            rng = generator(recipe.seed, "vocoder tuning", number)
            trainer.step(random_segments(speakers, config.batch_size, config.drawn_frames, rng), number)
            if progress is not None:
                progress(number, steps)
        return trainer.average

    return tune
