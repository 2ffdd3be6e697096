"""A vocoder with fewer channels inside its blocks: pruned by magnitude and, where there are waves, trained again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from client.vocoder_training import VocoderTrainer
from shared_models.audio.wave_segments import random_segments
from shared_models.config import Recipe
from shared_models.errors import RecipeError
from shared_models.export.pruning import ConvNeXtVocoder, convnext_width, prune_convnext
from shared_models.seeds import generator as random_generator
from shared_models.vocoders import NeuralVocoder, load_vocoder, save_vocoder
from simulations.deployment.tuning import Progress
from simulations.vocoder_waves import VocoderWaves

Tune = Callable[[nn.Module], nn.Module]
"""Trains a generator a little more, and returns the one to keep."""


def prunable(vocoder: NeuralVocoder) -> bool:
    """Whether it has channels that nothing outside of their block sees: HiFi-GAN has none."""
    return isinstance(vocoder.generator, ConvNeXtVocoder)


def prune_vocoder(
    vocoder: NeuralVocoder, ratio: float, path: Path, tune: Tune | None = None
) -> NeuralVocoder:
    """``vocoder`` made ``ratio`` times smaller, as the file ``path``.

    Raises :class:`RecipeError` for a vocoder that is not :func:`prunable`, and for a ratio that no width reaches.
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


def tune_on_waves(recipe: Recipe, waves: VocoderWaves, steps: int, progress: Progress | None = None) -> Tune:
    """Training as ``recipe.vocoder`` says, for ``steps`` steps: the same every time on one machine."""
    config = recipe.override({"vocoder.steps": steps}).vocoder

    def tune(network: nn.Module) -> nn.Module:
        speakers = list(waves.long_enough(config.drawn_frames).train.values())
        trainer = VocoderTrainer(network, config, recipe.seed)
        for number in range(1, steps + 1):
            rng = random_generator(recipe.seed, "vocoder tuning", number)
            trainer.step(random_segments(speakers, config.batch_size, config.drawn_frames, rng), number)
            if progress is not None:
                progress(number, steps)
        return trainer.average

    return tune
