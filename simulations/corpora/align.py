"""Aligns a corpus with itself: ``python -m simulations.corpora.align CORPUS OUTPUT``.

Trains the unsupervised aligner alone on a corpus's train speakers, and writes what it finds as ``.phones`` files,
and itself as ``aligner.safetensors``, which ``simulations.publish --aligner`` ships with a base. The embedded
voices get their alignments from it (``simulations.corpora.pack --alignments``); private speech does not, its
aligner is learnt in the federation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.alignment import Phone, write_phones
from shared_models.audio.cache import FeatureCache, extract_all
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.config import Recipe
from shared_models.features import Batch, Features, collate
from shared_models.file_names import file_name_of
from shared_models.losses import alignment_loss
from shared_models.optimization import adam, descend
from shared_models.seeds import generator
from shared_models.text.symbols import SYMBOLS
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus
from simulations.corpora.aligner_file import save_aligner
from simulations.preparation import default_cache

STEPS = 1200
BATCH = 8
LEARNING_RATE = 2e-3


def train_aligner(
    items: Sequence[Features], recipe: Recipe, progress: Callable[[int, int], None] | None = None
) -> VoiceModel:
    """A model whose aligner, and nothing else of it, is trained on ``items`` for :data:`STEPS` steps."""
    model = build_model(recipe)
    assert model.aligner is not None
    parameters = list(model.aligner.parameters())
    optimizer = adam(parameters, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    rng = generator(recipe.seed, "aligner")
    for step in range(STEPS):
        chosen = [items[i] for i in torch.randint(len(items), (BATCH,), generator=rng).tolist()]
        loss = alignment_loss(model.align(_batch(chosen)), weights=recipe.aligner)
        descend(loss, parameters, optimizer, clip=1.0)
        schedule.step()
        if progress is not None:
            progress(step + 1, STEPS)
    return model


@torch.no_grad()
def phones_of(model: VoiceModel, utterance: Utterance, features: Features, recipe: Recipe) -> list[Phone]:
    """The alignment of one utterance, in seconds of its recording."""
    durations = model.align(_batch([features])).durations[0]
    start = load_speech(utterance.audio, recipe.features).first_sample
    phones = []
    for symbol, frames in zip(features.phonemes.tolist(), durations.tolist(), strict=True):
        end = start + frames * HOP
        phones.append(Phone(start / SAMPLE_RATE, end / SAMPLE_RATE, SYMBOLS[symbol]))
        start = end
    return phones


def _batch(items: Sequence[Features]) -> Batch:
    return collate(items, references=None)


def main() -> None:
    """Entry point of ``python -m simulations.corpora.align``."""
    parser = argparse.ArgumentParser(description="Align a corpus with itself.")
    parser.add_argument("corpus", help="a folder that FedVoice can read")
    parser.add_argument("output", type=Path, help="where <utterance_id>.phones and aligner.safetensors go")
    parser.add_argument("--size", default="tiny", help="model.size of the base that it may be published with")
    arguments = parser.parse_args()
    recipe = Recipe(name="align").override(
        {"corpus.path": arguments.corpus, "aligner.learn": "always", "model.size": arguments.size}
    )
    # As they will be heard from people: alignments that some of them bring would trim them in another way.
    utterances = [replace(u, alignment=None) for u in open_corpus(recipe.corpus).utterances]
    found, _ = extract_all(utterances, recipe.features, FeatureCache(default_cache()), workers=2)
    # Unseen speakers are aligned, and never learnt from.
    seen = [found[u.utterance_id] for u in utterances if u.split == "train" and u.utterance_id in found]
    model = train_aligner(seen, recipe, _print_progress)
    save_aligner(arguments.output / "aligner.safetensors", model, recipe)
    for utterance in utterances:
        if utterance.utterance_id in found:
            phones = phones_of(model, utterance, found[utterance.utterance_id], recipe)
            write_phones(arguments.output / f"{file_name_of(utterance.utterance_id)}.phones", phones)
    print(f"{arguments.output}: {len(found)} alignments")


def _print_progress(done: int, total: int) -> None:
    if done % 100 == 0:
        print(f"{done} of {total} steps", flush=True)


if __name__ == "__main__":
    main()
